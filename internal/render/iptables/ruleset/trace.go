package ruleset

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
)

// Packet is what the trace needs to know of a packet.
type Packet struct {
	Src, Dst   netip.Addr
	Protocol   uint8
	DstPort    uint16
	ICMPv6Type uint8
	// SYN says that a TCP packet opens a connection.
	SYN bool
	// Established says that it belongs to a known connection.
	Established bool
	// LocalSource says that the source is an address of the node.
	LocalSource bool
	// Bridge is the interface between whose ports the packet is switched; empty for a routed one.
	Bridge string
	// NotUnicast says that the link-layer destination is not one interface alone.
	NotUnicast bool
	// SubnetBroadcast says that Dst is the broadcast address of a network that this node has an interface in.
	SubnetBroadcast bool
}

var limitedBroadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// Trace says whether a packet leaves the chain that a built-in chain jumps to (ChainForward or ChainOutput)
// alive, and by which rules. A table without the chain lets everything pass.
func (t *Table) Trace(entry string, p Packet) (passes bool, steps []string) {
	type place struct {
		chain *Chain
		next  int
	}
	at := place{chain: t.Chains[entry]}
	var stack []place
	for at.chain != nil {
		if at.next >= len(at.chain.Rules) {
			if len(stack) == 0 {
				return true, steps
			}
			at, stack = stack[len(stack)-1], stack[:len(stack)-1]
			continue
		}
		r := at.chain.Rules[at.next]
		at.next++
		if !t.matches(r, p) {
			continue
		}
		steps = append(steps, fmt.Sprintf("%s %s", at.chain.Name, r))
		switch r.Target.Kind {
		case Drop:
			return false, steps
		case Return:
			at.next = len(at.chain.Rules)
		case Jump:
			stack = append(stack, at)
			at = place{chain: t.Chains[r.Target.Chain]}
		case Goto:
			at = place{chain: t.Chains[r.Target.Chain]}
		}
	}
	return len(steps) == 0, steps
}

func (t *Table) matches(r Rule, p Packet) bool {
	switch {
	case r.Src.IsValid() && !r.Src.Contains(p.Src),
		r.Dst.IsValid() && !r.Dst.Contains(p.Dst),
		r.Protocol != 0 && r.Protocol != p.Protocol,
		r.NotSYN && (p.Protocol != program.TCP || p.SYN),
		r.ICMPv6Type != 0 && (p.Protocol != program.ICMPv6 || r.ICMPv6Type != p.ICMPv6Type),
		r.Established && !p.Established,
		r.LocalSource && !p.LocalSource,
		r.Bridge != "" && r.Bridge != p.Bridge,
		r.NotUnicast && !p.NotUnicast,
		r.BroadcastDst && p.Dst != limitedBroadcast && !p.SubnetBroadcast,
		len(r.Ports) > 0 && !slices.ContainsFunc(r.Ports, func(x PortRange) bool { return x.First <= p.DstPort && p.DstPort <= x.Last }):
		return false
	}
	for _, s := range r.Sets {
		if !t.Sets[s.Set].holds(s.End, p) {
			return false
		}
	}
	return true
}

func (s *Set) holds(end End, p Packet) bool {
	if s == nil {
		return false
	}
	a := p.Dst
	if end == Src {
		a = p.Src
	}
	switch s.Type {
	case HashIPPort:
		_, in := s.Members[Member{Host(a), p.Protocol, p.DstPort}]
		return in
	case HashNet:
		for bits := 1; bits <= a.BitLen(); bits++ {
			if _, in := s.Members[Member{Prefix: netip.PrefixFrom(a, bits).Masked()}]; in {
				return true
			}
		}
		return false
	default:
		_, in := s.Members[Member{Prefix: Host(a)}]
		return in
	}
}
