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
