package arrange

import "github.com/netpol-agent/netpol-agent/internal/compiler/program"

// Unit is what one owner contributes to a ruleset: a combination, a direction of a policy, or a part of the layout.
type Unit[C, S any] struct {
	Chains map[string]*C
	// Sets are sets whose names follow from their content, so that units may share them. They never change.
	Sets map[string]*S
	// Jumps are the chains of policies that the unit's own chains jump to.
	Jumps map[PolicyChain]struct{}
}

// PolicyChain identifies the chains of one direction of a policy.
type PolicyChain struct {
	Policy    program.PolicyRef
	Direction program.Direction
}

// Add adds a chain.
func (u *Unit[C, S]) Add(name string, c *C) {
	if u.Chains == nil {
		u.Chains = map[string]*C{}
	}
	u.Chains[name] = c
}

// AddSet adds a set.
func (u *Unit[C, S]) AddSet(name string, s *S) {
	if u.Sets == nil {
		u.Sets = map[string]*S{}
	}
	u.Sets[name] = s
}

// Jump notes that a chain of the unit jumps to a policy's own.
func (u *Unit[C, S]) Jump(to PolicyChain) {
	if u.Jumps == nil {
		u.Jumps = map[PolicyChain]struct{}{}
	}
	u.Jumps[to] = struct{}{}
}

// policyUnit is a policy's own chains, with the number of units that jump there.
type policyUnit[C, S any] struct {
	unit Unit[C, S]
	refs int
}

// Fix replaces a unit that belongs to the layout itself and goes by name. It must not jump to policies.
func (b *Book[C, S, E]) Fix(name string, u Unit[C, S]) {
	b.swap(nil, b.fixed[name], u)
	b.fixed[name] = u
}

// swap replaces what an owner contributes. What both have stays; the empty unit contributes nothing.
func (b *Book[C, S, E]) swap(p *program.Program, prev, next Unit[C, S]) {
	for to := range next.Jumps {
		b.acquirePolicy(to, p)
	}
	for name, s := range next.Sets {
		if b.setRefs[name]++; b.setRefs[name] == 1 {
			b.AddSet(name, s)
		}
	}
	for name, c := range next.Chains {
		b.chains[name] = c
		b.dirty.Chain(name)
	}
	for name := range prev.Chains {
		if _, stays := next.Chains[name]; !stays {
			delete(b.chains, name)
			b.dirty.Chain(name)
		}
	}
	for name := range prev.Sets {
		if b.setRefs[name]--; b.setRefs[name] == 0 {
			delete(b.setRefs, name)
			b.dropSet(name)
		}
	}
	for to := range prev.Jumps {
		b.releasePolicy(to, p)
	}
}

func (b *Book[C, S, E]) acquirePolicy(to PolicyChain, p *program.Program) {
	if known := b.policies[to]; known != nil {
		known.refs++
		return
	}
	b.policies[to] = &policyUnit[C, S]{refs: 1}
	b.renderPolicy(to, p)
}

func (b *Book[C, S, E]) releasePolicy(to PolicyChain, p *program.Program) {
	known := b.policies[to]
	if known.refs--; known.refs == 0 {
		delete(b.policies, to)
		b.swap(p, known.unit, Unit[C, S]{})
	}
}

// renderPolicy renders a policy's own chains, if any unit jumps there.
func (b *Book[C, S, E]) renderPolicy(of PolicyChain, p *program.Program) {
	known := b.policies[of]
	if known == nil {
		return
	}
	var next Unit[C, S]
	if pol := p.Policies[of.Policy]; pol != nil {
		next = b.spell.Policy(pol, of.Direction)
	}
	b.swap(p, known.unit, next)
	known.unit = next
}
