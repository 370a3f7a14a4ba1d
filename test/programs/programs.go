// Package programs helps tests write rule programs by hand. It decides nothing, and the product does not import it.
package programs

import (
	"strings"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
)

// Ref returns the reference of a NetworkPolicy written as "namespace/name", or of a cluster-scoped one written as "name".
func Ref(text string) program.PolicyRef {
	ns, name, found := strings.Cut(text, "/")
	if !found {
		ns, name = "", text
	}
	return program.PolicyRef{Namespace: ns, Name: name}
}

// Refs returns the references of several policies.
func Refs(texts ...string) []program.PolicyRef {
	out := make([]program.PolicyRef, len(texts))
	for i, text := range texts {
		out[i] = Ref(text)
	}
	return out
}

// Policy adds an empty policy to p, or returns the one that is there.
func Policy(p *program.Program, text string) *program.Policy {
	ref := Ref(text)
	if p.Policies[ref] == nil {
		p.Policies[ref] = &program.Policy{Ref: ref}
	}
	return p.Policies[ref]
}

// Stack adds a stack of the given tiers to p. Tiers without an ID are named after the stack and their place in it.
func Stack(p *program.Program, id program.StackID, d program.Direction, tiers ...program.Tier) {
	s := &program.Stack{ID: id, Direction: d}
	for i, t := range tiers {
		if t.ID == "" {
			t.ID = program.TierID(string(id) + "." + string(rune('a'+i)))
		}
		p.Tiers[t.ID] = &t
		s.Tiers = append(s.Tiers, t.ID)
	}
	p.Stacks[id] = s
}

// Denying adds a stack of one tier that isolates by the given policies, as NetworkPolicies do.
func Denying(p *program.Program, id program.StackID, d program.Direction, policies ...string) {
	Stack(p, id, d, program.Tier{Policies: Refs(policies...)})
}
