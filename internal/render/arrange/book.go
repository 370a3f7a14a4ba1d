// Package arrange keeps the books of a layout: which chains and sets follow from which part of a rule program, who still
// uses them, and what may have changed. Both layouts share it.
//
// It does not decide what a chain or a set looks like: a Spelling, one for each layout, says that. Nor does it decide
// what a policy means, or when anything is written.
package arrange

import (
	"net/netip"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
)

// Spelling says how one layout writes the parts of a program. C is a chain, S a set and E an element of a set.
type Spelling[C, S any, E comparable] interface {
	// Judges reports whether the layout has rules for the address.
	Judges(a netip.Addr) bool
	// Tier adds the chains of one tier to u and returns the name of the one to enter.
	Tier(u *Unit[C, S], p *program.Program, t *program.Tier, at Position) string
	// Policy returns the chains of one direction of a policy, for policies that a Unit jumps to.
	Policy(p *program.Policy, d program.Direction) Unit[C, S]
	// Entry leads the new connections of an address to its combinations, by direction; nil for none. The local is nil
	// if no pod of this node has the address any more.
	Entry(a netip.Addr, l *program.Local, to [2]*Combination)
	// Sets returns the sets, still empty, that hold the members of s, by name.
	Sets(s *program.Set) map[string]*S
	// Member returns the element of set for a member of s. It reports false if that set does not hold such members.
	Member(set *S, s *program.Set, m program.Member) (E, bool)
	// Put adds an element to the set, or removes it, and reports whether that changed the set.
	Put(set *S, e E, in bool) bool
}

// Book relates a program to the ruleset that a layout makes of it. The same program gives the same ruleset, whatever
// the steps to it.
type Book[C, S any, E comparable] struct {
	spell Spelling[C, S, E]
	// chains and sets are the desired ruleset.
	chains map[string]*C
	sets   map[string]*S
	dirty  *Dirty[E]

	combinations map[combinationKey]*Combination
	// parts holds what each combination contributes to the ruleset.
	parts map[*Combination]Unit[C, S]
	// byPolicy and byStack find the combinations to render again.
	byPolicy links[program.PolicyRef]
	byStack  links[program.StackID]
	// policies holds the chains of policies that units jump to.
	policies map[PolicyChain]*policyUnit[C, S]
	// fixed holds units that belong to the layout itself, by name.
	fixed map[string]Unit[C, S]
	// setRefs counts the units that use one of Unit.Sets.
	setRefs map[string]int
	// setNames holds the names of the sets of each set of the program.
	setNames map[program.SetID][]string
	// locals holds the combinations of each address, counts their number by IP family.
	locals map[netip.Addr][2]*Combination
	counts Counts
}

// Counts is a number of addresses by IP family.
type Counts struct{ V4, V6 int }

func (c *Counts) add(a netip.Addr, n int) {
	if a.Is4() {
		c.V4 += n
	} else {
		c.V6 += n
	}
}

// NewBook returns the book of an empty program. It changes chains and sets, which hold the desired ruleset, in place.
func NewBook[C, S any, E comparable](spell Spelling[C, S, E], chains map[string]*C, sets map[string]*S) *Book[C, S, E] {
	b := &Book[C, S, E]{spell: spell, chains: chains, sets: sets, dirty: NewDirty[E]()}
	b.clear()
	return b
}

func (b *Book[C, S, E]) clear() {
	b.combinations = map[combinationKey]*Combination{}
	b.parts = map[*Combination]Unit[C, S]{}
	b.byPolicy, b.byStack = links[program.PolicyRef]{}, links[program.StackID]{}
	b.policies = map[PolicyChain]*policyUnit[C, S]{}
	b.fixed = map[string]Unit[C, S]{}
	b.setRefs = map[string]int{}
	b.setNames = map[program.SetID][]string{}
	b.locals = map[netip.Addr][2]*Combination{}
	b.counts = Counts{}
}

// Reset empties book and ruleset, for the rare event that changes what every rule looks like. Everything that was there
// is dirty.
func (b *Book[C, S, E]) Reset() {
	for name := range b.chains {
		b.dirty.Chain(name)
	}
	for name := range b.sets {
		b.dirty.Set(name)
	}
	clear(b.chains)
	clear(b.sets)
	b.clear()
}

// TakeDirty returns what may have changed in the ruleset since the last call.
func (b *Book[C, S, E]) TakeDirty() *Dirty[E] {
	d := b.dirty
	b.dirty = NewDirty[E]()
	return d
}

// CountAfter returns how many addresses of this node's pods the layout has rules for once the delta is applied.
func (b *Book[C, S, E]) CountAfter(p *program.Program, d *program.Delta) Counts {
	n := b.counts
	for a := range d.Locals {
		if !b.spell.Judges(a) {
			continue
		}
		_, had := b.locals[a]
		switch has := p.Locals[a] != nil; {
		case has && !had:
			n.add(a, 1)
		case had && !has:
			n.add(a, -1)
		}
	}
	return n
}

// Apply brings the ruleset up to date with the program, looking only at what the delta names.
func (b *Book[C, S, E]) Apply(p *program.Program, d *program.Delta) {
	for id, members := range d.Sets {
		b.updateSet(p.Sets[id], id, members)
	}
	for c := range b.affected(d) {
		b.render(c, p)
	}
	for ref := range d.Policies {
		for _, dir := range program.Directions() {
			b.renderPolicy(PolicyChain{ref, dir}, p)
		}
	}
	for a := range d.Locals {
		if b.spell.Judges(a) {
			b.updateLocal(a, p)
		}
	}
}

// affected returns the combinations that depend on anything that the delta names.
func (b *Book[C, S, E]) affected(d *program.Delta) map[*Combination]struct{} {
	out := map[*Combination]struct{}{}
	for id := range d.Stacks {
		b.byStack.collect(id, out)
	}
	for ref := range d.Policies {
		b.byPolicy.collect(ref, out)
	}
	return out
}

// updateLocal leads an address to the combinations of its stacks.
func (b *Book[C, S, E]) updateLocal(a netip.Addr, p *program.Program) {
	local := p.Locals[a]
	prev, had := b.locals[a]
	var next [2]*Combination
	if local != nil {
		for _, d := range program.Directions() {
			next[d] = b.acquire(d, local.Stacks(d), p)
		}
	}
	b.spell.Entry(a, local, next)
	for _, c := range prev {
		b.release(c, p)
	}
	switch {
	case local == nil:
		delete(b.locals, a)
		if had {
			b.counts.add(a, -1)
		}
		return
	case !had:
		b.counts.add(a, 1)
	}
	b.locals[a] = next
}

// updateSet brings the sets of a program's set up to date at the given members.
func (b *Book[C, S, E]) updateSet(s *program.Set, id program.SetID, members map[program.Member]struct{}) {
	if s == nil {
		for _, name := range b.setNames[id] {
			b.dropSet(name)
		}
		delete(b.setNames, id)
		return
	}
	if _, known := b.setNames[id]; !known {
		for name, set := range b.spell.Sets(s) {
			b.AddSet(name, set)
			b.setNames[id] = append(b.setNames[id], name)
		}
		members = s.Members // a new set lacks all of them, whatever the delta names
	}
	for _, name := range b.setNames[id] {
		for m := range members {
			if e, ok := b.spell.Member(b.sets[name], s, m); ok {
				_, in := s.Members[m]
				b.Put(name, e, in)
			}
		}
	}
}

// Put adds an element to a set of the ruleset, or removes it.
func (b *Book[C, S, E]) Put(set string, e E, in bool) {
	if b.spell.Put(b.sets[set], e, in) {
		b.dirty.Elem(set, e)
	}
}

// Changed marks an element that the layout itself changed.
func (b *Book[C, S, E]) Changed(set string, e E) { b.dirty.Elem(set, e) }

// AddSet adds a set.
func (b *Book[C, S, E]) AddSet(name string, set *S) {
	b.sets[name] = set
	b.dirty.Set(name)
}

func (b *Book[C, S, E]) dropSet(name string) {
	delete(b.sets, name)
	b.dirty.Set(name)
}
