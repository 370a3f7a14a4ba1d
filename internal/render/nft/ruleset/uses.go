package ruleset

// setUse is what a match asks of the set that it names.
type setUse struct {
	name     string
	typ      SetType
	verdicts bool
}

// setUseOf says which set a match refers to, if it refers to one.
func setUseOf(m Match) (setUse, bool) {
	switch m := m.(type) {
	case InSet:
		return setUse{name: m.Set, typ: byFamily(m.Family, Addr4, Addr6)}, true
	case DstAddrPortInSet:
		return setUse{name: m.Set, typ: byFamily(m.Family, Addr4Port, Addr6Port)}, true
	case AddrPairInSet:
		return setUse{name: m.Set, typ: byFamily(m.Family, Addr4Pair, Addr6Pair)}, true
	case AddrVerdict:
		return setUse{name: m.Map, typ: byFamily(m.Family, Addr4, Addr6), verdicts: true}, true
	case PortVerdict:
		return setUse{name: m.Map, typ: ProtoPort, verdicts: true}, true
	}
	return setUse{}, false
}

func byFamily(f Family, v4, v6 SetType) SetType {
	if f == V4 {
		return v4
	}
	return v6
}

// packetKind is what a match asks of the packet before anything else. Zero fields ask nothing.
type packetKind struct {
	family      Family
	protocol    uint8
	hasProtocol bool
}

func kindFor(m Match) packetKind {
	switch m := m.(type) {
	case IsFamily:
		return packetKind{family: m.Family}
	case InPrefix:
		return packetKind{family: FamilyOf(m.Prefix.Addr())}
	case InSet:
		return packetKind{family: m.Family}
	case AddrVerdict:
		return packetKind{family: m.Family}
	case AddrPairInSet:
		return packetKind{family: m.Family}
	case IsProtocol:
		return packetKind{protocol: m.Protocol, hasProtocol: true}
	case DstPort:
		return packetKind{protocol: m.Protocol, hasProtocol: true}
	case NotSYN:
		return packetKind{protocol: protoTCP, hasProtocol: true}
	case DstAddrPortInSet:
		return packetKind{family: m.Family, protocol: m.Protocol, hasProtocol: true}
	case ICMPv6Types:
		return packetKind{family: V6, protocol: protoICMPv6, hasProtocol: true}
	}
	return packetKind{}
}

// conflictOf gives two matches that ask for different families or protocols, if there are any.
func conflictOf(matches []Match) (Match, Match, bool) {
	for i, m := range matches {
		a := kindFor(m)
		for _, o := range matches[:i] {
			b := kindFor(o)
			if a.family != b.family && a.family != 0 && b.family != 0 ||
				a.protocol != b.protocol && a.hasProtocol && b.hasProtocol {
				return o, m, true
			}
		}
	}
	return nil, nil, false
}
