package ruleset

import (
	"net/netip"
	"syscall"
)

func (t *txState) checkComment(c string) *RefusalError {
	if Comment(c) != c {
		return t.mistake("the nft tool cannot read the comment %q", c)
	}
	return nil
}

func (t *txState) checkSetKind(s *Set) *RefusalError {
	if s.Type > ProtoPort {
		if t.lenient {
			return nil
		}
		return refuse(syscall.EINVAL, "set %q: type %d", s.Name, s.Type)
	}
	if s.Interval && s.Type != Addr4 && s.Type != Addr6 {
		return t.mistake("set %q: intervals of %s", s.Name, s.Type)
	}
	if s.Interval && s.Verdicts {
		return t.mistake("set %q: intervals with verdicts", s.Name)
	}
	return nil
}

func (t *txState) checkRule(s *tableState, r Rule) *RefusalError {
	if ref := t.checkComment(r.Comment); ref != nil {
		return ref
	}
	if a, b, conflict := conflictOf(r.Matches); conflict {
		if ref := t.mistake("no packet is both %q and %q, and the nft tool refuses to load that", matchText(a), matchText(b)); ref != nil {
			return ref
		}
	}
	for i, m := range r.Matches {
		if ref := t.checkMatch(m); ref != nil {
			return ref
		}
		use, ok := setUseOf(m)
		if !ok {
			continue
		}
		if ref := t.checkSetUse(s, use); ref != nil {
			return ref
		}
		if use.verdicts && (i < len(r.Matches)-1 || r.Verdict.Kind != Continue) {
			if ref := t.mistake("%q decides, but something stands behind it", matchText(m)); ref != nil {
				return ref
			}
		}
	}
	return s.checkVerdict(r.Verdict)
}

func (s *tableState) checkVerdict(v Verdict) *RefusalError {
	switch v.Kind {
	case Continue, Accept, Drop, Return:
		if v.Chain != "" {
			return refuse(syscall.EINVAL, "verdict %s with chain %q", v, v.Chain)
		}
		return nil
	case Jump, Goto:
		target := s.rules.Chains[v.Chain]
		if target == nil {
			return refuse(syscall.ENOENT, "%s: no such chain", v)
		}
		if target.Hook != nil {
			return refuse(syscall.EOPNOTSUPP, "%s: base chain", v)
		}
		return nil
	}
	return refuse(syscall.EINVAL, "verdict kind %d", v.Kind)
}

func (t *txState) checkSetUse(s *tableState, use setUse) *RefusalError {
	set := s.rules.Sets[use.name]
	switch {
	case set == nil:
		return refuse(syscall.ENOENT, "no set %q", use.name)
	case set.Type == ForeignType:
		return nil
	case set.Verdicts && !use.verdicts:
		return t.mistake("set %q is a verdict map, which older kernels refuse here", use.name)
	case set.Verdicts != use.verdicts:
		return refuse(syscall.EINVAL, "set %q: verdicts %t", use.name, set.Verdicts)
	case set.Type != use.typ:
		return t.mistake("set %q holds %s, not %s", use.name, set.Type, use.typ)
	}
	return nil
}

// maxInterface is how long an interface's name can be: IFNAMSIZ with its ending zero.
const maxInterface = 15

func (t *txState) checkMatch(m Match) *RefusalError {
	switch m := m.(type) {
	case CtEstablished, IsProtocol, LocalSource, NotUnicast, BroadcastDst, NotSYN, PortVerdict:
		return nil
	case OnBridge:
		if m.Name == "" || len(m.Name) > maxInterface {
			return refuse(syscall.EINVAL, "interface %q", m.Name)
		}
		return nil
	case IsFamily:
		return t.checkFamily(m, m.Family)
	case InSet:
		return t.checkFamily(m, m.Family)
	case AddrPairInSet:
		return t.checkFamily(m, m.Family)
	case AddrVerdict:
		return t.checkFamily(m, m.Family)
	case DstAddrPortInSet:
		if r := t.checkFamily(m, m.Family); r != nil {
			return r
		}
		return t.checkHasPorts(m.Protocol)
	case InPrefix:
		if !m.Prefix.IsValid() {
			return refuse(syscall.EINVAL, "no prefix in %#v", m)
		}
		if m.Prefix != m.Prefix.Masked() {
			return t.mistake("bits behind the prefix %s", m.Prefix)
		}
		return nil
	case DstPort:
		if m.First > m.Last {
			return t.mistake("ports %d to %d", m.First, m.Last)
		}
		return t.checkHasPorts(m.Protocol)
	case ICMPv6Types:
		if m.First > m.Last {
			return t.mistake("types %d to %d", m.First, m.Last)
		}
		return nil
	case Foreign:
		if t.lenient {
			return nil
		}
		return refuse(syscall.EINVAL, "a foreign match cannot be written")
	}
	return refuse(syscall.EINVAL, "unknown match %T", m)
}

func (t *txState) checkFamily(m Match, f Family) *RefusalError {
	if f != V4 && f != V6 {
		return refuse(syscall.EINVAL, "family %d in %T", f, m)
	}
	return nil
}

func hasPorts(protocol uint8) bool {
	return protocol == protoTCP || protocol == protoUDP || protocol == protoSCTP
}

func (t *txState) checkHasPorts(protocol uint8) *RefusalError {
	if hasPorts(protocol) {
		return nil
	}
	return t.mistake("ports of protocol %d", protocol)
}

func (t *txState) checkElem(s *tableState, set *Set, e ElemVerdict) *RefusalError {
	if !elemFits(set, e.Elem) {
		return refuse(syscall.EINVAL, "set %q of %s: key %+v", set.Name, set.Type, e.Elem)
	}
	if set.Type == ProtoPort {
		if r := t.checkHasPorts(e.Elem.Proto); r != nil {
			return r
		}
	}
	if !set.Verdicts {
		if e.Verdict != (Verdict{}) {
			return refuse(syscall.EINVAL, "set %q has no verdicts", set.Name)
		}
		return nil
	}
	return s.checkVerdict(e.Verdict)
}

// elemFits says whether an element has the fields that the set's keys are made of, and no others.
func elemFits(set *Set, e Elem) bool {
	var shape Elem
	switch set.Type {
	case Addr4, Addr6:
		shape = Elem{A: e.A}
		if set.Interval {
			shape.B = e.B
			if !fits(e.B, set.Type == Addr4) || e.B.Less(e.A) {
				return false
			}
		}
		return e == shape && fits(e.A, set.Type == Addr4)
	case Addr4Port, Addr6Port:
		shape = Elem{A: e.A, Port: e.Port}
		return e == shape && fits(e.A, set.Type == Addr4Port)
	case Addr4Pair, Addr6Pair:
		shape = Elem{A: e.A, B: e.B}
		v4 := set.Type == Addr4Pair
		return e == shape && fits(e.A, v4) && fits(e.B, v4)
	case ProtoPort:
		return e == Elem{Proto: e.Proto, Port: e.Port}
	}
	return false
}

func fits(a netip.Addr, v4 bool) bool { return a.IsValid() && a.Is4() == v4 && a.Zone() == "" }
