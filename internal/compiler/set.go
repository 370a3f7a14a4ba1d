package compiler

import (
	"net/netip"

	"k8s.io/apimachinery/pkg/types"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/selector"
)

// set is an active set with what the compiler needs to keep it up to date.
type set struct {
	*program.Set
	refs int
	// ports and local describe a NamedPorts set; local limits it to pods of this node.
	ports namedPort
	local bool
	// at holds the port of each address in a NamedPorts set.
	at map[netip.Addr]uint16
}

// setRef is a parsed rule's reference to a set: a query for pods, or a named port.
type setRef struct {
	id      program.SetID
	query   selector.Query
	named   bool
	ports   namedPort
	local   bool
	inWords string
}

func podSetRef(q selector.Query) setRef {
	return setRef{id: program.SetID(q.ID()), query: q, inWords: q.String()}
}

// namedSetRef refers to the pods that have a named port. An ingress rule's destination is always a pod of
// this node, so its set needs no others.
func namedSetRef(p namedPort, d program.Direction) setRef {
	text := protocolName(p.protocol) + " port " + p.name
	if d == program.Ingress {
		return setRef{id: program.SetID("local-port:" + text), named: true, ports: p, local: true, inWords: text + " of this node's pods"}
	}
	return setRef{id: program.SetID("port:" + text), named: true, ports: p, inWords: text + " of all pods"}
}

func protocolName(p uint8) string {
	switch p {
	case program.UDP:
		return "UDP"
	case program.SCTP:
		return "SCTP"
	default:
		return "TCP"
	}
}

// acquireSet makes a set active, or counts one more use.
func (c *Compiler) acquireSet(ref setRef) {
	if s := c.sets[ref.id]; s != nil {
		s.refs++
		return
	}
	s := &set{
		Set:   &program.Set{ID: ref.id, Description: ref.inWords, Members: map[program.Member]struct{}{}},
		refs:  1,
		ports: ref.ports,
		local: ref.local,
	}
	c.sets[ref.id] = s
	c.prog.Sets[ref.id] = s.Set
	c.delta.Set(ref.id)
	if !ref.named {
		c.peers.Acquire(ref.query)
		return
	}
	c.named[ref.id] = s
	s.Kind, s.Protocol, s.at = program.NamedPorts, ref.ports.protocol, map[netip.Addr]uint16{}
	for _, p := range c.pods {
		if p.ports[s.ports] != 0 {
			for _, a := range p.addrs {
				c.updateNamed(s, a)
			}
		}
	}
}

// releaseSet removes one use, and the set with the last one.
func (c *Compiler) releaseSet(ref setRef) {
	s := c.sets[ref.id]
	if s.refs--; s.refs > 0 {
		return
	}
	if ref.named {
		for m := range s.Members {
			c.putMember(s, m, false)
		}
		delete(c.named, ref.id)
	} else {
		c.peers.Release(string(ref.id))
	}
	delete(c.sets, ref.id)
	delete(c.prog.Sets, ref.id)
	c.delta.Set(ref.id)
}

// peerChanged is called by the index when a pod starts or stops matching a set's query.
func (c *Compiler) peerChanged(id string, key types.NamespacedName, matches bool) {
	s, p := c.sets[program.SetID(id)], c.pods[key]
	if matches {
		p.sets[s] = struct{}{}
	} else {
		delete(p.sets, s)
	}
	for _, a := range p.addrs {
		c.updatePeer(s, a)
	}
}

// refreshSets updates an address that pod p gained or lost, in every set that could hold it.
func (c *Compiler) refreshSets(a netip.Addr, p *pod) {
	for s := range p.sets {
		c.updatePeer(s, a)
	}
	at := c.addrs[a]
	if at == nil {
		return
	}
	for _, o := range at.pods {
		for s := range o.sets {
			c.updatePeer(s, a)
		}
	}
}

// updatePeer adds an address to a pod set or removes it. The address belongs there if a pod reports it and every
// pod that reports it matches: if two running pods share an address, a peer has to match both.
func (c *Compiler) updatePeer(s *set, a netip.Addr) {
	at := c.addrs[a]
	in := at != nil
	if in {
		for _, p := range at.pods {
			if _, ok := p.sets[s]; !ok {
				in = false
				break
			}
		}
	}
	c.putMember(s, program.Member{Addr: a}, in)
}

// refreshNamedPorts updates the NamedPorts sets at all addresses that a pod had or has.
func (c *Compiler) refreshNamedPorts(prev, next podFacts) {
	for _, s := range c.named {
		for _, f := range []podFacts{prev, next} {
			for _, a := range f.addrs {
				c.updateNamed(s, a)
			}
		}
	}
}

// updateNamed updates the port of an address in a NamedPorts set: the number that the name has on every pod at the
// address, or none.
func (c *Compiler) updateNamed(s *set, a netip.Addr) {
	var port uint16
	if at := c.addrs[a]; at != nil {
		local := false
		for i, p := range at.pods {
			n := p.ports[s.ports]
			if i > 0 && n != port {
				n = 0
			}
			local = local || p.local
			if port = n; port == 0 {
				break
			}
		}
		if s.local && !local {
			port = 0
		}
	}
	old := s.at[a]
	if old == port {
		return
	}
	if old != 0 {
		delete(s.at, a)
		c.putMember(s, program.Member{Addr: a, Port: old}, false)
	}
	if port != 0 {
		s.at[a] = port
		c.putMember(s, program.Member{Addr: a, Port: port}, true)
	}
}

func (c *Compiler) putMember(s *set, m program.Member, in bool) {
	if _, was := s.Members[m]; was == in {
		return
	}
	if in {
		s.Members[m] = struct{}{}
	} else {
		delete(s.Members, m)
	}
	c.delta.Set(s.ID)[m] = struct{}{}
}
