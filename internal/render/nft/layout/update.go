package layout

import (
	"net/netip"
	"slices"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/ruleset"
)

// updateSet brings the kernel sets of a program's set up to date at the given members.
func (l *Layout) updateSet(s *program.Set, id program.SetID, members map[program.Member]struct{}, fams []ruleset.Family) {
	for _, f := range fams {
		name := programSet(id, f)
		if s == nil {
			l.dropSet(name)
			continue
		}
		set := l.want.Sets[name]
		if set == nil {
			set = &ruleset.Set{
				Name: name, Comment: ruleset.Comment(s.Description), Type: memberType(s.Kind, f),
				Elems: make(map[ruleset.Elem]ruleset.Verdict, len(members)),
			}
			l.want.Sets[name] = set
			l.dirty.Set(name)
		}
		for m := range members {
			if ruleset.FamilyOf(m.Addr) != f {
				continue
			}
			_, in := s.Members[m]
			l.putElem(set, ruleset.Elem{A: m.Addr, Port: m.Port}, ruleset.Verdict{}, in)
		}
	}
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

// putElem puts an element into a set or map, with its verdict, or takes it out.
func (l *Layout) putElem(set *ruleset.Set, e ruleset.Elem, v ruleset.Verdict, in bool) {
	old, had := set.Elems[e]
	if had == in && old == v {
		return
	}
	if in {
		set.Elems[e] = v
	} else {
		delete(set.Elems, e)
	}
	l.dirty.Elem(set.Name, e)
}

func (l *Layout) dropSet(name string) {
	if _, had := l.want.Sets[name]; had {
		delete(l.want.Sets, name)
		l.dirty.Set(name)
	}
}

// updateLocal leads an address to the targets of its stacks.
func (l *Layout) updateLocal(a netip.Addr, p *program.Program, fams []ruleset.Family) {
	local := p.Locals[a]
	var next localState
	f := ruleset.FamilyOf(a)
	for _, d := range program.Directions() {
		var v ruleset.Verdict
		if local != nil && len(local.Stacks(d)) > 0 {
			next.keys[d] = l.acquireTarget(d, local.Stacks(d), p, fams).key
			v = gotoChain(targetChain(d, next.keys[d]))
		}
		l.putElem(l.want.Sets[dispatchMap(d, f)], ruleset.Elem{A: a}, v, next.keys[d] != "")
	}
	isolated := local != nil && local.Isolated()
	l.putElem(l.want.Sets[isolatedSet(f)], ruleset.Elem{A: a}, ruleset.Verdict{}, isolated)
	l.putElem(l.want.Sets[selfSet(f)], ruleset.Elem{A: a, B: a}, ruleset.Verdict{}, isolated)
	for _, key := range l.locals[a].keys {
		l.releaseTarget(key)
	}
	if local == nil {
		delete(l.locals, a)
	} else {
		l.locals[a] = next
	}
}

func (l *Layout) acquireTarget(d program.Direction, stacks []program.StackID, p *program.Program, fams []ruleset.Family) *target {
	key := targetKey(d, stacks)
	t := l.targets[key]
	if t == nil {
		t = &target{key: key, d: d, stacks: slices.Clone(stacks)}
		l.targets[key] = t
		for _, s := range stacks {
			link(l.byStack, s, t)
		}
		l.renderTarget(t, p, fams)
	}
	t.refs++
	return t
}

func (l *Layout) releaseTarget(key string) {
	t := l.targets[key]
	if t == nil {
		return
	}
	if t.refs--; t.refs > 0 {
		return
	}
	delete(l.targets, key)
	for _, s := range t.stacks {
		unlink(l.byStack, s, t)
	}
	l.unlinkPolicies(t)
	l.putUnit("target "+key, unit{})
}

// renderTarget renders a target anew and keeps count of the policy chains that it needs.
func (l *Layout) renderTarget(t *target, p *program.Program, fams []ruleset.Family) {
	before := *t
	u := t.render(p, fams)
	for _, id := range t.policies {
		link(l.byPolicy, id, t)
	}
	for _, id := range t.jumps {
		if l.jumps[t.d][id]++; l.jumps[t.d][id] == 1 {
			l.renderPolicy(id, t.d, p, fams)
		}
	}
	l.putUnit("target "+t.key, u)
	for _, id := range before.policies {
		if !slices.Contains(t.policies, id) {
			unlink(l.byPolicy, id, t)
		}
	}
	l.dropJumps(before.d, before.jumps)
}

func (l *Layout) unlinkPolicies(t *target) {
	for _, id := range t.policies {
		unlink(l.byPolicy, id, t)
	}
	l.dropJumps(t.d, t.jumps)
}

func (l *Layout) dropJumps(d program.Direction, jumps []program.PolicyID) {
	for _, id := range jumps {
		if l.jumps[d][id]--; l.jumps[d][id] == 0 {
			delete(l.jumps[d], id)
			l.putUnit(policyOwner(id, d), unit{})
		}
	}
}

// renderPolicy renders a policy's own chain of one direction, if any target jumps to it.
func (l *Layout) renderPolicy(id program.PolicyID, d program.Direction, p *program.Program, fams []ruleset.Family) {
	pol := p.Policies[id]
	if l.jumps[d][id] == 0 || pol == nil {
		l.putUnit(policyOwner(id, d), unit{})
		return
	}
	l.putUnit(policyOwner(id, d), policyUnit(pol, d, fams))
}

func policyOwner(id program.PolicyID, d program.Direction) string {
	return "policy " + d.String() + " " + string(id)
}

// putUnit replaces what an owner contributes to the ruleset; the empty unit takes it out.
func (l *Layout) putUnit(owner string, next unit) {
	prev := l.units[owner]
	for _, s := range next.sets {
		if l.setRefs[s.Name]++; l.setRefs[s.Name] == 1 {
			l.want.Sets[s.Name] = s
			l.dirty.Set(s.Name)
		}
	}
	for _, c := range next.chains {
		l.want.Chains[c.Name] = c
		l.dirty.Chain(c.Name)
	}
	for _, c := range prev.chains {
		if !slices.ContainsFunc(next.chains, func(n *ruleset.Chain) bool { return n.Name == c.Name }) {
			delete(l.want.Chains, c.Name)
			l.dirty.Chain(c.Name)
		}
	}
	for _, s := range prev.sets {
		if l.setRefs[s.Name]--; l.setRefs[s.Name] == 0 {
			delete(l.setRefs, s.Name)
			l.dropSet(s.Name)
		}
	}
	if len(next.chains) == 0 {
		delete(l.units, owner)
	} else {
		l.units[owner] = next
	}
}

func link[K comparable](m map[K]map[*target]struct{}, k K, t *target) {
	if m[k] == nil {
		m[k] = map[*target]struct{}{}
	}
	m[k][t] = struct{}{}
}

func unlink[K comparable](m map[K]map[*target]struct{}, k K, t *target) {
	delete(m[k], t)
	if len(m[k]) == 0 {
		delete(m, k)
	}
}

// updateBridges leads what is switched on the bridges to a chain of its own, which is there while one needs it.
func (l *Layout) updateBridges(names []string) {
	if slices.Equal(l.bridges, names) {
		return
	}
	l.bridges = slices.Clone(names)
	l.want.Chains[chainToPods] = toPodsChain(names)
	delete(l.want.Chains, chainOnBridge)
	if len(names) > 0 {
		l.want.Chains[chainOnBridge] = onBridgeChain()
	}
	l.dirty.Chain(chainToPods)
	l.dirty.Chain(chainOnBridge)
}
