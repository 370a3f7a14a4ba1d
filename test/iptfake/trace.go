package iptfake

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/render/iptables/ruleset"
)

// Packet is what Trace needs to know about a packet.
type Packet struct {
	Src, Dst   netip.Addr
	Protocol   uint8
	DstPort    uint16
	ICMPv6Type uint8
	// SYN reports whether a TCP packet opens a connection.
	SYN bool
	// Established reports whether it belongs to a known connection.
	Established bool
	// LocalSource reports whether the source is an address of the node.
	LocalSource bool
	// Bridge is the bridge between whose ports the packet is switched, or empty if it is routed.
	Bridge string
	// NotUnicast reports whether the link-layer destination is not a single interface.
	NotUnicast bool
	// SubnetBroadcast reports whether Dst is the broadcast address of a network in which this node has an interface.
	SubnetBroadcast bool
}

var limitedBroadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// Trace reports whether a packet survives the chain that a built-in chain jumps to (ruleset.ChainForward or ChainOutput),
// and returns the rules that it matched. A table without the chain lets everything pass.
func Trace(t *ruleset.Table, entry string, p Packet) (passes bool, steps []string) {
	type position struct {
		chain *ruleset.Chain
		next  int
	}
	at := position{chain: t.Chains[entry]}
	var stack []position
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
		if !matches(t, r, p) {
			continue
		}
		steps = append(steps, fmt.Sprintf("%s %s", at.chain.Name, r))
		switch r.Target.Kind {
		case ruleset.Drop:
			return false, steps
		case ruleset.Return:
			at.next = len(at.chain.Rules)
		case ruleset.Jump:
			stack = append(stack, at)
			at = position{chain: t.Chains[r.Target.Chain]}
		case ruleset.Goto:
			at = position{chain: t.Chains[r.Target.Chain]}
		}
	}
	return len(steps) == 0, steps
}

func matches(t *ruleset.Table, r ruleset.Rule, p Packet) bool {
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
		len(r.Ports) > 0 && !slices.ContainsFunc(r.Ports, func(x ruleset.PortRange) bool { return x.First <= p.DstPort && p.DstPort <= x.Last }):
		return false
	}
	for _, s := range r.Sets {
		if !holds(t.Sets[s.Set], s.End, p) {
			return false
		}
	}
	return true
}

func holds(s *ruleset.Set, end ruleset.End, p Packet) bool {
	if s == nil {
		return false
	}
	a := p.Dst
	if end == ruleset.Src {
		a = p.Src
	}
	switch s.Type {
	case ruleset.HashIPPort:
		_, in := s.Members[ruleset.Member{Prefix: ruleset.Host(a), Protocol: p.Protocol, Port: p.DstPort}]
		return in
	case ruleset.HashNet:
		for bits := 1; bits <= a.BitLen(); bits++ {
			if _, in := s.Members[ruleset.Member{Prefix: netip.PrefixFrom(a, bits).Masked()}]; in {
				return true
			}
		}
		return false
	default:
		_, in := s.Members[ruleset.Member{Prefix: ruleset.Host(a)}]
		return in
	}
}
