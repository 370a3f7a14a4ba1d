package ruleset

import "net/netip"

func (t *tracer) matches(m Match) bool {
	p := &t.packet
	switch m := m.(type) {
	case CtEstablished:
		return p.Established
	case IsFamily:
		return p.family() == m.Family
	case IsProtocol:
		return p.Protocol == m.Protocol
	case InPrefix:
		return m.Prefix.Contains(p.end(m.End))
	case DstPort:
		return p.Protocol == m.Protocol && hasPorts(p.Protocol) && m.First <= p.DstPort && p.DstPort <= m.Last
	case LocalSource:
		return p.LocalSource
	case OnBridge:
		return p.Bridge == m.Name
	case NotUnicast:
		return p.NotUnicast
	case BroadcastDst:
		return p.Dst == limitedBroadcast || p.SubnetBroadcast && p.Dst.Is4()
	case ICMPv6Types:
		return p.family() == V6 && p.Protocol == protoICMPv6 && m.First <= p.ICMPType && p.ICMPType <= m.Last
	case NotSYN:
		return p.Protocol == protoTCP && !p.SYN
	case InSet, DstAddrPortInSet, AddrPairInSet:
		return t.inSet(m)
	}
	return false
}

var limitedBroadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

func (p *Packet) family() Family { return FamilyOf(p.Dst) }

func (p *Packet) end(e End) netip.Addr {
	if e == Src {
		return p.Src
	}
	return p.Dst
}

// key gives what a match looks up in its set, and false if the packet is not of the match's family or protocol.
func (p *Packet) key(m Match) (Elem, bool) {
	switch m := m.(type) {
	case InSet:
		return Elem{A: p.end(m.End)}, p.family() == m.Family
	case AddrVerdict:
		return Elem{A: p.end(m.End)}, p.family() == m.Family
	case AddrPairInSet:
		return Elem{A: p.Src, B: p.Dst}, p.family() == m.Family
	case DstAddrPortInSet:
		return Elem{A: p.Dst, Port: p.DstPort}, p.family() == m.Family && p.Protocol == m.Protocol && hasPorts(p.Protocol)
	case PortVerdict:
		return Elem{Proto: p.Protocol, Port: p.DstPort}, hasPorts(p.Protocol)
	}
	return Elem{}, false
}

func (t *tracer) inSet(m Match) bool {
	use, _ := setUseOf(m)
	set := t.rules.Sets[use.name]
	key, ok := t.packet.key(m)
	if set == nil || !ok {
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

// lookup gives a verdict map's verdict and the text of the element.
func (t *tracer) lookup(m Match, use setUse) (Verdict, string, bool) {
	set := t.rules.Sets[use.name]
	key, ok := t.packet.key(m)
	if set == nil || !ok {
		return Verdict{}, "", false
	}
	verdict, found := set.Elems[key]
	if !found {
		return Verdict{}, "", false
	}
	return verdict, set.keyText(key), true
}
