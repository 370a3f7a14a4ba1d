package layout

import (
	"fmt"
	"slices"
	"strings"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/ruleset"
)

// target is where a dispatch map leads: the chain of all addresses that are judged by the same stacks.
type target struct {
	key    string
	d      program.Direction
	stacks []program.StackID
	// refs counts the addresses that are led here.
	refs int
	// policies are those of the stacks as last rendered; jumps are those of them that have a chain of their own.
	policies, jumps []program.PolicyID
}

func targetKey(d program.Direction, stacks []program.StackID) string {
	parts := make([]string, len(stacks))
	for i, s := range stacks {
		parts[i] = string(s)
	}
	return d.String() + "\n" + strings.Join(parts, "\n")
}

// place is where a tier stands: what its verdicts become, and whether they are those of every pod.
type place struct {
	verdicts verdicts
	// standard is true where accept means what it means in a policy's own chain.
	standard bool
	// name is that of the tier's chain; parts are those of the names of chains that belong to it.
	name  string
	parts []string
}

// render gives the target's chains: one for each tier of each stack. The first one is the entry. A stack's
// accept leads to the next stack, so that all stacks of an address must accept; the last one's is final.
func (t *target) render(p *program.Program, fams []ruleset.Family) unit {
	u := unit{}
	t.policies, t.jumps = nil, nil
	accept := acceptVerdict(t.d)
	for i := len(t.stacks) - 1; i >= 0; i-- {
		first := t.renderStack(&u, p, i, accept, fams)
		accept = gotoChain(first)
	}
	return u
}

// renderStack renders one stack from its last tier to its first and gives the first one's chain.
func (t *target) renderStack(u *unit, p *program.Program, i int, accept ruleset.Verdict, fams []ruleset.Family) string {
	s := p.Stacks[t.stacks[i]]
	if s == nil || len(s.Tiers) == 0 {
		// A stack that nobody explains denies; one without tiers isolates nothing.
		v := gotoChain(chainDenied)
		if s != nil {
			v = accept
		}
		c := &ruleset.Chain{Name: t.chainName(i, 0), Rules: []ruleset.Rule{rule(v, "")}}
		u.chains = append(u.chains, c)
		return c.Name
	}
	pass := accept
	name := ""
	for n := len(s.Tiers) - 1; n >= 0; n-- {
		name = t.chainName(i, n)
		t.renderTier(u, p, &s.Tiers[n], place{
			verdicts: verdicts{program.Accept: accept, program.Deny: gotoChain(chainDenied), program.Pass: pass},
			standard: i == len(t.stacks)-1,
			name:     name,
			parts:    []string{"pods", t.d.String(), digest(t.key), fmt.Sprintf("%d.%d", i, n)},
		}, fams)
		pass = gotoChain(name)
	}
	return name
}

func (t *target) renderTier(u *unit, p *program.Program, tier *program.Tier, at place, fams []ruleset.Family) {
	c := &ruleset.Chain{Name: at.name, Comment: ruleset.Comment(joinPolicies(tier.Policies))}
	t.policies = append(t.policies, tier.Policies...)
	for _, id := range tier.Policies {
		pol := p.Policies[id]
		switch {
		case pol == nil, len(pol.Rules(t.d)) == 0:
			// The most common policy of all, deny everything, has no rule: nothing is to be tried.
		case at.standard && onlyAccepts(pol.Rules(t.d)):
			t.jumps = append(t.jumps, id)
			c.Rules = append(c.Rules, rule(jumpTo(policyChain(t.d, pol)), ""))
		default:
			for i := range pol.Rules(t.d) {
				u.addRule(c, at.parts, pol, t.d, &pol.Rules(t.d)[i], at.verdicts, fams)
			}
		}
	}
	c.Rules = append(c.Rules, rule(at.verdicts[tier.Default], ""))
	u.chains = append(u.chains, c)
}

// chainName names the chain of a tier; that of the first tier of the first stack is the entry.
func (t *target) chainName(stack, tier int) string {
	if stack == 0 && tier == 0 {
		return targetChain(t.d, t.key)
	}
	return ruleset.Name("pods", t.d.String(), digest(t.key), fmt.Sprintf("%d.%d", stack, tier))
}

func onlyAccepts(rules []program.Rule) bool {
	return !slices.ContainsFunc(rules, func(r program.Rule) bool { return r.Verdict != program.Accept })
}

func joinPolicies(ids []program.PolicyID) string {
	parts := make([]string, len(ids))
	for i, id := range ids {
		parts[i] = string(id)
	}
	return "isolated by " + strings.Join(parts, ", ")
}
