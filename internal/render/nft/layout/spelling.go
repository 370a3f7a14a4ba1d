package layout

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/render/arrange"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/ruleset"
)

// Layout is an arrange.Spelling: the methods below say how the parts of a program are written.

// Judges implements arrange.Spelling: one table serves both families.
func (l *Layout) Judges(netip.Addr) bool { return true }

// Tier implements arrange.Spelling. A tier is one chain. It jumps to the chain of a policy if an accept means the same
// in both, and otherwise holds the policy's rules itself.
func (l *Layout) Tier(u *unit, p *program.Program, tier *program.Tier, at arrange.Position) string {
	d, parts := at.Combination.Direction, tierParts(at)
	c := &ruleset.Chain{Name: tierChain(at, parts)}
	if len(tier.Policies) > 0 {
		c.Comment = ruleset.Comment(arrange.IsolatedBy(tier.Policies))
	}
	v := verdicts{
		program.Accept: goOn(at.Accept, d), program.Pass: goOn(at.Pass, d), program.Deny: gotoChain(chainDenied),
	}
	rules := ruleWriter{unit: u, chain: c, families: l.families, verdicts: v, inside: parts}
	for _, ref := range tier.Policies {
		pol := p.Policies[ref]
		switch {
		case pol == nil, len(pol.Rules(d)) == 0:
			// The most common policy of all, deny everything, has no rule, so there is nothing to try.
		case at.Accept == "" && onlyAccepts(pol.Rules(d)):
			u.Jump(arrange.PolicyChain{Policy: ref, Direction: d})
			c.Rules = append(c.Rules, rule(jumpTo(policyChain(d, ref)), ""))
		default:
			rules.addAll(pol, d)
		}
	}
	c.Rules = append(c.Rules, rule(v[tier.Default], ""))
	u.Add(c.Name, c)
	return c.Name
}

// goOn returns a goto to the chain that judges next. If there is none, it accepts.
func goOn(chain string, d program.Direction) ruleset.Verdict {
	if chain == "" {
		return acceptVerdict(d)
	}
	return gotoChain(chain)
}

func onlyAccepts(rules []program.Rule) bool {
	return !slices.ContainsFunc(rules, func(r program.Rule) bool { return r.Verdict != program.Accept })
}

// Policy implements arrange.Spelling, for policies whose rules all accept.
func (l *Layout) Policy(pol *program.Policy, d program.Direction) arrange.Unit[ruleset.Chain, ruleset.Set] {
	var u unit
	c := &ruleset.Chain{Name: policyChain(d, pol.Ref), Comment: ruleset.Comment(fmt.Sprintf("%s %s", pol.Ref.Kind, pol.Ref))}
	u.Add(c.Name, c)
	rules := ruleWriter{unit: &u, chain: c, families: l.families, verdicts: verdicts{program.Accept: acceptVerdict(d)}}
	rules.addAll(pol, d)
	return u
}

// Entry implements arrange.Spelling: the address is an element of a verdict map for each direction.
func (l *Layout) Entry(a netip.Addr, local *program.Local, to [2]*arrange.Combination) {
	f := program.FamilyOf(a)
	for _, d := range program.Directions() {
		var v ruleset.Verdict
		if to[d] != nil {
			v = gotoChain(to[d].Chain)
		}
		l.lead(dispatchMap(d, f), ruleset.Elem{A: a}, v, to[d] != nil)
	}
	isolated := local != nil && local.Isolated()
	l.book.Put(isolatedSet(f), ruleset.Elem{A: a}, isolated)
	l.book.Put(selfSet(f), ruleset.Elem{A: a, B: a}, isolated)
}

// lead sets the verdict of an element of a verdict map, or removes the element.
func (l *Layout) lead(name string, e ruleset.Elem, v ruleset.Verdict, in bool) {
	m := l.want.Sets[name]
	if old, had := m.Elems[e]; had == in && old == v {
		return
	}
	if in {
		m.Elems[e] = v
	} else {
		delete(m.Elems, e)
	}
	l.book.Changed(name, e)
}

// Sets implements arrange.Spelling: a set for each family.
func (l *Layout) Sets(s *program.Set) map[string]*ruleset.Set {
	out := map[string]*ruleset.Set{}
	for _, f := range l.families {
		name := programSet(s.ID, f)
		out[name] = &ruleset.Set{
			Name: name, Comment: ruleset.Comment(s.Description), Type: memberType(s.Kind, f),
			Elems: make(map[ruleset.Elem]ruleset.Verdict, len(s.Members)),
		}
	}
	return out
}

// Member implements arrange.Spelling.
func (l *Layout) Member(set *ruleset.Set, s *program.Set, m program.Member) (ruleset.Elem, bool) {
	return ruleset.Elem{A: m.Addr, Port: m.Port}, set.Type == memberType(s.Kind, program.FamilyOf(m.Addr))
}

// Put implements arrange.Spelling.
func (l *Layout) Put(set *ruleset.Set, e ruleset.Elem, in bool) bool {
	if _, had := set.Elems[e]; had == in {
		return false
	}
	if in {
		set.Elems[e] = ruleset.Verdict{}
	} else {
		delete(set.Elems, e)
	}
	return true
}

func memberType(k program.SetKind, f ruleset.Family) ruleset.SetType {
	switch {
	case k == program.NamedPorts && f == ruleset.V6:
		return ruleset.Addr6Port
	case k == program.NamedPorts:
		return ruleset.Addr4Port
	case f == ruleset.V6:
		return ruleset.Addr6
	default:
		return ruleset.Addr4
	}
}
