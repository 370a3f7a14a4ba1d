package trace

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/ruleset"
)

func (t *tracer) matches(m ruleset.Match) bool {
	p := &t.packet
	switch m := m.(type) {
	case ruleset.CtEstablished:
		return p.Established
	case ruleset.IsFamily:
		return p.family() == m.Family
	case ruleset.IsProtocol:
		return p.Protocol == m.Protocol
	case ruleset.InPrefix:
		return m.Prefix.Contains(p.end(m.End))
	case ruleset.DstPort:
		return p.Protocol == m.Protocol && p.hasPorts() && m.First <= p.DstPort && p.DstPort <= m.Last
	case ruleset.LocalSource:
		return p.LocalSource
	case ruleset.OnBridge:
		return p.Bridge == m.Name
	case ruleset.NotUnicast:
		return p.NotUnicast
	case ruleset.BroadcastDst:
		return p.Dst == netip.AddrFrom4([4]byte{255, 255, 255, 255}) || p.SubnetBroadcast && p.Dst.Is4()
	case ruleset.ICMPv6Types:
		return p.family() == ruleset.V6 && p.Protocol == unix.IPPROTO_ICMPV6 && m.First <= p.ICMPType && p.ICMPType <= m.Last
	case ruleset.NotSYN:
		return p.Protocol == unix.IPPROTO_TCP && !p.SYN
	case ruleset.InSet:
		return p.family() == m.Family && t.inSet(m.Set, ruleset.Elem{A: p.end(m.End)})
	case ruleset.AddrPairInSet:
		return p.family() == m.Family && t.inSet(m.Set, ruleset.Elem{A: p.Src, B: p.Dst})
	case ruleset.DstAddrPortInSet:
		return p.family() == m.Family && p.Protocol == m.Protocol && p.hasPorts() &&
			t.inSet(m.Set, ruleset.Elem{A: p.Dst, Port: p.DstPort})
	}
	return false
}

func (p *Packet) family() ruleset.Family { return program.FamilyOf(p.Dst) }

func (p *Packet) hasPorts() bool {
	return p.Protocol == unix.IPPROTO_TCP || p.Protocol == unix.IPPROTO_UDP || p.Protocol == unix.IPPROTO_SCTP
}

func (p *Packet) end(e ruleset.End) netip.Addr {
	if e == ruleset.Src {
		return p.Src
	}
	return p.Dst
}

func (t *tracer) inSet(name string, key ruleset.Elem) bool {
	set := t.rules.Sets[name]
	if set == nil {
		return false
	}
	if !set.Interval {
		_, in := set.Elems[key]
		return in
	}
	for e := range set.Elems {
		if !key.A.Less(e.A) && !e.B.Less(key.A) {
			return true
		}
	}
	return false
}

// lookup returns a verdict map's verdict and the text of the element.
func (t *tracer) lookup(m ruleset.AddrVerdict) (ruleset.Verdict, string, bool) {
	set := t.rules.Sets[m.Map]
	if set == nil || t.packet.family() != m.Family {
		return ruleset.Verdict{}, "", false
	}
	key := ruleset.Elem{A: t.packet.end(m.End)}
	verdict, found := set.Elems[key]
	return verdict, set.KeyText(key), found
}
