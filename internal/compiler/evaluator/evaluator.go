// Package evaluator answers, from a rule program alone, whether a new connection passes and why.
//
// It decides nothing that the program does not say, and needs no kernel. It is one reading of a program,
// the renderers' rulesets are others, and tests compare them. It judges the first packet of a connection;
// replies belong to their connection and pass with it.
package evaluator

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
)

// Packet is the first packet of a connection with the addresses that it has between destination and source NAT:
// a Service's address is already the pod's, and the source is still the client's.
type Packet struct {
	Src, Dst netip.Addr
	// Protocol is the IP protocol number.
	Protocol uint8
	// DstPort is used for TCP, UDP and SCTP.
	DstPort uint16
	// ICMPv6Type is used for ICMPv6.
	ICMPv6Type uint8
	// Bridge is the bridge that switches the packet from port to port; empty for routed packets.
	Bridge string
}

// Result is the verdict on a packet with its reasons.
type Result struct {
	// Verdict is Accept or Deny.
	Verdict program.Verdict
	// Exempt is the reason why the packet is not judged, or empty if it is.
	Exempt string
	// Nameless is the reason why a packet that names no pod is denied, or empty for all other packets.
	Nameless string
	// Egress and Ingress are the judgements of the source's and the destination's address; nil for an address
	// that belongs to no pod of this node.
	Egress, Ingress *Judgement
}

// Judgement is how one local address judges the packet.
type Judgement struct {
	Direction program.Direction
	// Pods are the pods of the address, as "namespace/name".
	Pods []string
	// Stacks holds one answer for each stack of the address; all must accept. Empty: not isolated.
	Stacks []StackAnswer
}

// Isolated reports whether any policy isolates the address in this direction.
func (j *Judgement) Isolated() bool { return len(j.Stacks) > 0 }

// Accepts reports whether the address lets the packet pass.
func (j *Judgement) Accepts() bool {
	return !slices.ContainsFunc(j.Stacks, func(s StackAnswer) bool { return s.Verdict != program.Accept })
}

// StackAnswer is how one stack judges the packet.
type StackAnswer struct {
	Verdict program.Verdict
	// By is the rule that decided; nil if a tier's default did, or if every tier passed.
	By *RuleRef
	// Policies are the policies of the tiers that were tried.
	Policies []program.PolicyRef
	// Misses holds every rule that did not match.
	Misses []Miss
}

// RuleRef names a rule of a policy object.
type RuleRef struct {
	Policy    program.PolicyRef
	Direction program.Direction
	Index     int
}

// Miss is a rule that did not match, with what kept it from matching.
type Miss struct {
	RuleRef
	Peer, Port bool // which of the two did not match
}

// Evaluate judges a packet. It unmaps the addresses first.
func Evaluate(p *program.Program, pkt Packet) Result {
	pkt.Src, pkt.Dst = pkt.Src.Unmap(), pkt.Dst.Unmap()
	src, dst := p.Locals[pkt.Src], p.Locals[pkt.Dst]
	if why := nameless(p, pkt); why != "" {
		return Result{Verdict: program.Deny, Nameless: why}
	}
	if why := exempt(p, pkt, src, dst); why != "" {
		return Result{Verdict: program.Accept, Exempt: why}
	}
	r := Result{Verdict: program.Accept}
	if src != nil {
		r.Egress = judge(p, src, program.Egress, pkt)
	}
	if dst != nil {
		r.Ingress = judge(p, dst, program.Ingress, pkt)
	}
	for _, j := range []*Judgement{r.Egress, r.Ingress} {
		if j != nil && !j.Accepts() {
			r.Verdict = program.Deny
		}
	}
	return r
}

// nameless returns the reason why a packet on a bridge of isolated pods cannot be judged, or "". Such a packet may
// concern any pod.
func nameless(p *program.Program, pkt Packet) string {
	_, fromNode := p.NodeAddrs[pkt.Src]
	_, toNode := p.NodeAddrs[pkt.Dst]
	if fromNode || toNode || discovers(pkt) || !slices.Contains(p.Bridges, pkt.Bridge) {
		return ""
	}
	var what string
	switch {
	case pkt.Dst.IsMulticast():
		what = "multicast"
	case pkt.Dst == program.Broadcast4:
		what = "broadcast"
	case program.LinkLocal6.Contains(pkt.Src.WithZone("")), program.LinkLocal6.Contains(pkt.Dst.WithZone("")):
		what = "link-local"
	default:
		return ""
	}
	return fmt.Sprintf("denied: a %s packet on %s names no pod, and a pod there is isolated", what, pkt.Bridge)
}

// exempt returns the reason why a packet passes whatever the policies say, or "".
func exempt(p *program.Program, pkt Packet, src, dst *program.Local) string {
	_, fromNode := p.NodeAddrs[pkt.Src]
	_, toNode := p.NodeAddrs[pkt.Dst]
	switch {
	case pkt.Src == pkt.Dst:
		return "a pod always reaches itself"
	case fromNode && dst != nil, toNode && src != nil:
		return "a pod and the node it runs on always reach each other"
	case discovers(pkt):
		return "neighbour discovery and router messages always pass"
	}
	return ""
}

// discovers reports whether the packet belongs to router or neighbour discovery.
func discovers(pkt Packet) bool {
	return pkt.Src.Is6() && pkt.Protocol == program.ICMPv6 &&
		pkt.ICMPv6Type >= program.FirstDiscovery && pkt.ICMPv6Type <= program.LastDiscovery
}

func judge(p *program.Program, l *program.Local, d program.Direction, pkt Packet) *Judgement {
	j := &Judgement{Direction: d, Pods: l.Pods}
	for _, id := range l.Stacks(d) {
		j.Stacks = append(j.Stacks, ask(p, id, d, pkt))
	}
	return j
}

// ask tries the stack's tiers top down.
func ask(p *program.Program, id program.StackID, d program.Direction, pkt Packet) StackAnswer {
	ans := StackAnswer{Verdict: program.Deny}
	for _, t := range p.TiersOf(id) {
		ans.Policies = append(ans.Policies, t.Policies...)
		v, by := askTier(p, t, d, pkt, &ans)
		if v != program.Pass {
			ans.Verdict, ans.By = v, by
			return ans
		}
	}
	ans.Verdict = program.Accept
	return ans
}

func askTier(p *program.Program, t *program.Tier, d program.Direction, pkt Packet, ans *StackAnswer) (program.Verdict, *RuleRef) {
	for _, of := range t.Policies {
		pol := p.Policies[of]
		if pol == nil {
			continue
		}
		rules := pol.Rules(d)
		for i := range rules {
			ref := RuleRef{Policy: of, Direction: d, Index: rules[i].Index}
			peer, port := matchPeers(p, &rules[i].Peers, d, pkt), matchPorts(p, &rules[i].Ports, pkt)
			if peer && port {
				return rules[i].Verdict, &ref
			}
			ans.Misses = append(ans.Misses, Miss{RuleRef: ref, Peer: !peer, Port: !port})
		}
	}
	return t.Default, nil
}

// matchPeers looks at the remote end: the source of an ingress connection, the destination of an egress one.
func matchPeers(p *program.Program, ps *program.Peers, d program.Direction, pkt Packet) bool {
	if ps.Any {
		return true
	}
	remote := pkt.Src
	if d == program.Egress {
		remote = pkt.Dst
	}
	for _, id := range ps.Sets {
		if inSet(p, id, program.Member{Addr: remote}) {
			return true
		}
	}
	return slices.ContainsFunc(ps.Blocks, func(b program.Block) bool { return b.Contains(remote) })
}

func matchPorts(p *program.Program, ps *program.Ports, pkt Packet) bool {
	if ps.Any {
		return true
	}
	for _, port := range ps.List {
		if port.Protocol != pkt.Protocol {
			continue
		}
		if port.Named != "" {
			if inSet(p, port.Named, program.Member{Addr: pkt.Dst, Port: pkt.DstPort}) {
				return true
			}
		} else if port.First <= pkt.DstPort && pkt.DstPort <= port.Last {
			return true
		}
	}
	return false
}

func inSet(p *program.Program, id program.SetID, m program.Member) bool {
	s := p.Sets[id]
	if s == nil {
		return false
	}
	_, in := s.Members[m]
	return in
}
