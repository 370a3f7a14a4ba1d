package layout

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/render/iptables/ruleset"
)

// target is where a tree leads: the chain of all addresses that are judged by the same stacks.
type target struct {
	key    string
	d      program.Direction
	stacks []program.StackID
	// refs counts the addresses that are led here.
	refs int
	// policies are those of the stacks as last rendered.
	policies []program.PolicyID
}

func targetKey(d program.Direction, stacks []program.StackID) string {
	parts := make([]string, len(stacks))
	for i, s := range stacks {
		parts[i] = string(s)
	}
	return d.String() + "\n" + strings.Join(parts, "\n")
}

// chainName names the chain of a tier; that of the first tier of the first stack is the entry.
func (t *target) chainName(stack, tier int) string {
	return ruleset.Name([2]string{program.Ingress: "PI", program.Egress: "PE"}[t.d], t.key, fmt.Sprintf("%d.%d", stack, tier))
}

// verdicts is what the program's verdicts become at one place.
type verdicts map[program.Verdict]ruleset.Target

// render gives the target's chains: one for each tier of each stack. A stack's accept leads to the next stack,
// so that all stacks of an address must accept; the last one's is final.
func (t *target) render(p *program.Program, f ruleset.Family) unit {
	u := unit{}
	t.policies = nil
	accept := allow
	for i := len(t.stacks) - 1; i >= 0; i-- {
		accept = gotoTo(t.renderStack(&u, p, i, accept, f))
	}
	entry := u.chains[len(u.chains)-1]
	entry.Rules = slices.Insert(entry.Rules, 0, midStream(isolatedBy(t.policies)))
	return u
}

// renderStack renders one stack from its last tier to its first and gives the first one's chain.
func (t *target) renderStack(u *unit, p *program.Program, i int, accept ruleset.Target, f ruleset.Family) string {
	s := p.Stacks[t.stacks[i]]
	if s == nil || len(s.Tiers) == 0 {
		// A stack that nobody explains denies; one without tiers isolates nothing.
		v := gotoTo(chainDenied)
		if s != nil {
			v = accept
		}
		c := &ruleset.Chain{Name: t.chainName(i, 0), Rules: []ruleset.Rule{{Target: v}}}
		u.chains = append(u.chains, c)
		return c.Name
	}
	pass := accept
	for n := len(s.Tiers) - 1; n >= 0; n-- {
		tier := &s.Tiers[n]
		v := verdicts{program.Accept: accept, program.Deny: gotoTo(chainDenied), program.Pass: pass}
		c := &ruleset.Chain{Name: t.chainName(i, n)}
		t.policies = append(t.policies, tier.Policies...)
		for _, id := range tier.Policies {
			if pol := p.Policies[id]; pol != nil {
				for r := range pol.Rules(t.d) {
					u.addRule(c, pol, t.d, &pol.Rules(t.d)[r], v, f)
				}
			}
		}
		c.Rules = append(c.Rules, ruleset.Rule{Target: v[tier.Default]})
		u.chains = append(u.chains, c)
		pass = gotoTo(c.Name)
	}
	return pass.Chain
}

func isolatedBy(ids []program.PolicyID) string {
	parts := make([]string, len(ids))
	for i, id := range ids {
		parts[i] = string(id)
	}
	return "isolated by " + strings.Join(parts, ", ")
}

// updateLocal leads an address to the targets of its stacks, and says whether a tree changed. An address that
// is isolated in one direction only is led to the open chain of the other, which keeps cut connections from
// coming back.
func (l *family) updateLocal(a netip.Addr, p *program.Program) bool {
	local := p.Locals[a]
	isolated := local != nil && local.Isolated()
	var keys [2]string
	moved := false
	for _, d := range program.Directions() {
		entry := ""
		if isolated {
			entry = chainOpen
		}
		if isolated && len(local.Stacks(d)) > 0 {
			t := l.acquireTarget(d, local.Stacks(d), p)
			keys[d], entry = t.key, t.chainName(0, 0)
		}
		switch {
		case l.entries[d][a] == entry:
			continue
		case entry == "":
			delete(l.entries[d], a)
		default:
			l.entries[d][a] = entry
		}
		moved = true
	}
	for _, key := range l.locals[a] {
		l.releaseTarget(key)
	}
	if local == nil {
		delete(l.locals, a)
	} else {
		l.locals[a] = keys
	}
	return moved
}

func (l *family) acquireTarget(d program.Direction, stacks []program.StackID, p *program.Program) *target {
	key := targetKey(d, stacks)
	t := l.targets[key]
	if t == nil {
		t = &target{key: key, d: d, stacks: slices.Clone(stacks)}
		l.targets[key] = t
		for _, s := range stacks {
			link(l.byStack, s, t)
		}
		l.renderTarget(t, p)
	}
	t.refs++
	return t
}

func (l *family) releaseTarget(key string) {
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
	for _, id := range t.policies {
		unlink(l.byPolicy, id, t)
	}
	l.putUnit("target "+key, unit{})
}

func (l *family) renderTarget(t *target, p *program.Program) {
	before := t.policies
	u := t.render(p, l.f)
	for _, id := range t.policies {
		link(l.byPolicy, id, t)
	}
	for _, id := range before {
		if !slices.Contains(t.policies, id) {
			unlink(l.byPolicy, id, t)
		}
	}
	l.putUnit("target "+t.key, u)
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
