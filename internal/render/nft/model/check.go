package model

import (
	"net/netip"
	"syscall"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/ruleset"
)

func (t *transaction) checkName(kind, name string) error {
	if name == "" || len(name) > 255 {
		return refuse(syscall.EINVAL, "%s name of %d bytes", kind, len(name))
	}
	if !ruleset.ValidName(name) {
		return t.mistake("the nft tool cannot read the %s name %q", kind, name)
	}
	return nil
}

func (t *transaction) checkComment(c string) error {
	if ruleset.Comment(c) != c {
		return t.mistake("the nft tool cannot read the comment %q", c)
	}
	return nil
}

func (t *transaction) checkSetKind(s *ruleset.Set) error {
	if s.Type.Family() == 0 {
		if t.lenient {
			return nil
		}
		return refuse(syscall.EINVAL, "set %q: type %d", s.Name, s.Type)
	}
	if s.Interval && s.Type != ruleset.Addr4 && s.Type != ruleset.Addr6 {
		return t.mistake("set %q: intervals of %s", s.Name, s.Type)
	}
	if s.Interval && s.Verdicts {
		return t.mistake("set %q: intervals with verdicts", s.Name)
	}
	return nil
}

func (t *transaction) checkRule(r ruleset.Rule) error {
	if err := t.checkComment(r.Comment); err != nil {
		return err
	}
	for i, m := range r.Matches {
		f := ruleset.FactsOf(m)
		for _, o := range r.Matches[:i] {
			if !f.Contradicts(ruleset.FactsOf(o)) {
				continue
			}
			if err := t.mistake("no packet is both %q and %q, and the nft tool refuses to load that", o, m); err != nil {
				return err
			}
		}
		if err := t.checkMatch(m); err != nil {
			return err
		}
		if err := t.checkSetUse(f); err != nil {
			return err
		}
		if f.Verdicts && (i < len(r.Matches)-1 || r.Verdict.Kind != ruleset.Continue) {
			if err := t.mistake("%q decides, but something follows it", m); err != nil {
				return err
			}
		}
	}
	return t.at.checkVerdict(r.Verdict)
}

func (s *table) checkVerdict(v ruleset.Verdict) error {
	switch v.Kind {
	case ruleset.Continue, ruleset.Accept, ruleset.Drop, ruleset.Return:
		if v.Chain != "" {
			return refuse(syscall.EINVAL, "verdict %s with chain %q", v, v.Chain)
		}
		return nil
	case ruleset.Jump, ruleset.Goto:
		to := s.rules.Chains[v.Chain]
		if to == nil {
			return refuse(syscall.ENOENT, "%s: no such chain", v)
		}
		if to.Hook != nil {
			return refuse(syscall.EOPNOTSUPP, "%s: base chain", v)
		}
		return nil
	}
	return refuse(syscall.EINVAL, "verdict kind %d", v.Kind)
}

// checkSetUse checks that the set that a match looks up is there and of the kind that the match needs.
func (t *transaction) checkSetUse(f ruleset.Facts) error {
	if !f.HasSet {
		return nil
	}
	set := t.at.rules.Sets[f.Set]
	switch {
	case set == nil:
		return refuse(syscall.ENOENT, "no set %q", f.Set)
	case set.Type == ruleset.ForeignType:
		return nil
	case set.Verdicts && !f.Verdicts:
		return t.mistake("set %q is a verdict map, which older kernels refuse here", f.Set)
	case set.Verdicts != f.Verdicts:
		return refuse(syscall.EINVAL, "set %q: verdicts %t", f.Set, set.Verdicts)
	case set.Type != f.SetType:
		return t.mistake("set %q holds %s, not %s", f.Set, set.Type, f.SetType)
	}
	return nil
}

// maxInterface is the longest name of an interface: IFNAMSIZ without its terminating zero.
const maxInterface = 15

func (t *transaction) checkMatch(m ruleset.Match) error {
	if f := ruleset.FactsOf(m); f.HasFamily && !f.Family.Valid() {
		return refuse(syscall.EINVAL, "family %d in %T", f.Family, m)
	}
	switch m := m.(type) {
	case ruleset.OnBridge:
		if m.Name == "" || len(m.Name) > maxInterface {
			return refuse(syscall.EINVAL, "interface %q", m.Name)
		}
	case ruleset.InPrefix:
		if !m.Prefix.IsValid() {
			return refuse(syscall.EINVAL, "no prefix in %#v", m)
		}
		if m.Prefix != m.Prefix.Masked() {
			return t.mistake("bits after the prefix %s", m.Prefix)
		}
	case ruleset.DstAddrPortInSet:
		return t.checkHasPorts(m.Protocol)
	case ruleset.DstPort:
		if m.First > m.Last {
			return t.mistake("ports %d to %d", m.First, m.Last)
		}
		return t.checkHasPorts(m.Protocol)
	case ruleset.ICMPv6Types:
		if m.First > m.Last {
			return t.mistake("types %d to %d", m.First, m.Last)
		}
	case ruleset.Foreign:
		if !t.lenient {
			return refuse(syscall.EINVAL, "a foreign match cannot be written")
		}
	}
	return nil
}

func (t *transaction) checkHasPorts(protocol uint8) error {
	if !ruleset.HasPorts(protocol) {
		return t.mistake("ports of protocol %d", protocol)
	}
	return nil
}

func (t *transaction) checkElem(set *ruleset.Set, e ruleset.ElemVerdict) error {
	if !elemFits(set, e.Elem) {
		return refuse(syscall.EINVAL, "set %q of %s: key %+v", set.Name, set.Type, e.Elem)
	}
	if set.Verdicts {
		return t.at.checkVerdict(e.Verdict)
	}
	if e.Verdict != (ruleset.Verdict{}) {
		return refuse(syscall.EINVAL, "set %q has no verdicts", set.Name)
	}
	return nil
}

// elemFits reports whether an element has the fields that the set's keys consist of, and no others.
func elemFits(set *ruleset.Set, e ruleset.Elem) bool {
	shape, f := ruleset.Elem{A: e.A}, set.Type.Family()
	switch set.Type {
	case ruleset.Addr4Port, ruleset.Addr6Port:
		shape.Port = e.Port
	case ruleset.Addr4Pair, ruleset.Addr6Pair:
		shape.B = e.B
		if !fits(e.B, f) {
			return false
		}
	default:
		if set.Interval {
			shape.B = e.B
			if !fits(e.B, f) || e.B.Less(e.A) {
				return false
			}
		}
	}
	return e == shape && fits(e.A, f)
}

func fits(a netip.Addr, f ruleset.Family) bool {
	return a.IsValid() && program.FamilyOf(a) == f && a.Zone() == ""
}
