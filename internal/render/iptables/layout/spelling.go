package layout

import (
	"net/netip"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/render/arrange"
	"github.com/netpol-agent/netpol-agent/internal/render/iptables/ruleset"
)

// family is an arrange.Spelling: the methods below say how the parts of a program are written.

// Judges implements arrange.Spelling.
func (l *family) Judges(a netip.Addr) bool { return program.FamilyOf(a) == l.f }

// verdicts maps the program's verdicts to targets of one chain.
type verdicts map[program.Verdict]ruleset.Target

// Tier implements arrange.Spelling. A tier is one chain with the rules of all of its policies.
func (l *family) Tier(u *unit, p *program.Program, tier *program.Tier, at arrange.Position) string {
	d := at.Combination.Direction
	c := &ruleset.Chain{Name: tierChain(at)}
	if at.Entry() {
		c.Rules = append(c.Rules, midStream(arrange.IsolatedBy(at.Combination.Policies)))
	}
	v := verdicts{program.Accept: goOn(at.Accept), program.Pass: goOn(at.Pass), program.Deny: gotoTo(chainDenied)}
	for _, ref := range tier.Policies {
		if pol := p.Policies[ref]; pol != nil {
			for i := range pol.Rules(d) {
				addRule(u, c, pol, d, &pol.Rules(d)[i], v, l.f)
			}
		}
	}
	c.Rules = append(c.Rules, ruleset.Rule{Target: v[tier.Default]})
	u.Add(c.Name, c)
	return c.Name
}

// goOn returns a goto to the chain that judges next. If there is none, it allows.
func goOn(chain string) ruleset.Target {
	if chain == "" {
		return allow
	}
	return gotoTo(chain)
}

// Policy implements arrange.Spelling. Policies have no chains of their own here: a chain that is jumped to could not
// return past its caller.
func (l *family) Policy(*program.Policy, program.Direction) arrange.Unit[ruleset.Chain, ruleset.Set] {
	return unit{}
}

// Entry implements arrange.Spelling. An address that is isolated in one direction only goes to the open chain in the
// other, which keeps connections that were cut from coming back.
func (l *family) Entry(a netip.Addr, local *program.Local, to [2]*arrange.Combination) {
	for _, d := range program.Directions() {
		entry := ""
		switch {
		case to[d] != nil:
			entry = to[d].Chain
		case local != nil && local.Isolated():
			entry = chainOpen
		}
		switch {
		case l.entries[d][a] == entry:
			continue
		case entry == "":
			delete(l.entries[d], a)
		default:
			l.entries[d][a] = entry
		}
		l.moved = true
	}
}

// Sets implements arrange.Spelling.
func (l *family) Sets(s *program.Set) map[string]*ruleset.Set {
	name, typ := peerSet(s.ID, l.f), ruleset.HashIP
	if s.Kind == program.NamedPorts {
		name, typ = portSet(s.ID, l.f), ruleset.HashIPPort
	}
	members := make(map[ruleset.Member]struct{}, len(s.Members))
	return map[string]*ruleset.Set{name: {Name: name, Type: typ, Members: members}}
}

// Member implements arrange.Spelling.
func (l *family) Member(set *ruleset.Set, s *program.Set, m program.Member) (ruleset.Member, bool) {
	if program.FamilyOf(m.Addr) != l.f {
		return ruleset.Member{}, false
	}
	out := ruleset.Member{Prefix: ruleset.Host(m.Addr)}
	if set.Type == ruleset.HashIPPort {
		out.Protocol, out.Port = s.Protocol, m.Port
	}
	return out, true
}

// Put implements arrange.Spelling.
func (l *family) Put(set *ruleset.Set, m ruleset.Member, in bool) bool {
	if _, had := set.Members[m]; had == in {
		return false
	}
	if in {
		set.Members[m] = struct{}{}
	} else {
		delete(set.Members, m)
	}
	return true
}
