package compiler

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
)

// tier is a set of policies that isolate pods in one direction. Tiers are interned: pods that the same policies
// isolate share one, so the ID for a pod need not be computed from all of its policies.
type tier struct {
	id       program.TierID
	d        program.Direction
	sum      fingerprint
	policies []*policy // sorted by reference
	// pods counts the pods that the tier judges. At zero the tier is forgotten.
	pods int
	// last is the most recent step of a pod from this tier. A policy that selects many pods moves most of them the
	// same way.
	last step
}

// step leads from a tier to the one that has the policy if this one lacks it, and lacks it if this one has it.
type step struct {
	policy *policy
	to     *tier
}

// fingerprint is the sum of hashes of policies, so that adding or removing one costs the same whatever the number of
// others. Collisions do no harm: tiers with the same fingerprint are told apart by their policies.
type fingerprint [4]uint64

func policyPrint(ref program.PolicyRef, d program.Direction) fingerprint {
	hash := sha256.Sum256(fmt.Appendf(nil, "%d %d %s/%s", d, ref.Kind, ref.Namespace, ref.Name))
	var f fingerprint
	for i := range f {
		f[i] = binary.BigEndian.Uint64(hash[8*i:])
	}
	return f
}

func (f fingerprint) plus(o fingerprint) fingerprint {
	for i := range f {
		f[i] += o[i]
	}
	return f
}

func (f fingerprint) minus(o fingerprint) fingerprint {
	for i := range f {
		f[i] -= o[i]
	}
	return f
}

// settleTiers moves each pod whose policies changed to the tier that it belongs to now, in one step whatever the number
// of policies.
func (c *Compiler) settleTiers() {
	for p := range c.moving {
		slices.SortFunc(p.changed, (*policy).compare)
		changed := slices.Compact(p.changed)
		for _, d := range program.Directions() {
			c.settleTier(p, d, changed)
		}
		p.changed = nil
	}
	clear(c.moving)
}

// settleTier moves a pod to its tier of one direction. Only the changed policies, which are sorted, are looked at.
func (c *Compiler) settleTier(p *pod, d program.Direction, changed []*policy) {
	prev := p.tiers[d]
	var moves []*policy
	for _, pol := range changed {
		if pol.isolatesPod(p, d) != prev.has(pol) {
			moves = append(moves, pol)
		}
	}
	if len(moves) == 0 {
		return
	}
	next := c.nextTier(prev, d, moves)
	if next != nil {
		next.pods++
	}
	if prev != nil {
		if len(moves) == 1 {
			prev.last = step{moves[0], next}
		}
		c.leaveTier(prev)
	}
	p.tiers[d] = next
	c.touch(p.addrs...)
}

// has reports whether the policy is one of the tier's. A nil tier has none.
func (t *tier) has(pol *policy) bool {
	if t == nil {
		return false
	}
	_, found := slices.BinarySearchFunc(t.policies, pol, (*policy).compare)
	return found
}

// nextTier returns the tier that has those of moves, which are sorted, that t lacks, and lacks those that t has. A nil
// tier has no policies.
func (c *Compiler) nextTier(t *tier, d program.Direction, moves []*policy) *tier {
	var sum fingerprint
	var policies []*policy
	if t != nil {
		if len(moves) == 1 && t.last.policy == moves[0] && (t.last.to == nil || t.last.to.pods > 0) {
			return t.last.to
		}
		sum, policies = t.sum, t.policies
	}
	policies = append(make([]*policy, 0, len(policies)+len(moves)), policies...)
	for _, pol := range moves {
		if i, had := slices.BinarySearchFunc(policies, pol, (*policy).compare); had {
			sum, policies = sum.minus(pol.prints[d]), slices.Delete(policies, i, i+1)
		} else {
			sum, policies = sum.plus(pol.prints[d]), slices.Insert(policies, i, pol)
		}
	}
	if len(policies) == 0 {
		return nil
	}
	return c.internTier(&tier{d: d, sum: sum, policies: policies})
}

// internTier returns the known tier with the policies of t. If there is none, it interns t and returns it.
func (c *Compiler) internTier(t *tier) *tier {
	alike := c.tiers[t.sum]
	for _, known := range alike {
		if known.d == t.d && slices.Equal(known.policies, t.policies) {
			return known
		}
	}
	for n := 0; t.id == "" || c.taken(t, alike); n++ {
		t.id = program.TierID(fmt.Sprintf("%s:%x+%d", t.d, t.sum, n))
	}
	c.tiers[t.sum] = append(alike, t)
	return t
}

// taken reports whether the ID of t belongs to another tier: one of those with the same fingerprint, or one that is
// forgotten and that the program still has.
func (c *Compiler) taken(t *tier, alike []*tier) bool {
	if slices.ContainsFunc(alike, func(o *tier) bool { return o.id == t.id }) {
		return true
	}
	known := c.prog.Tiers[t.id]
	same := func(ref program.PolicyRef, pol *policy) bool { return ref == pol.ref }
	return known != nil && !slices.EqualFunc(known.Policies, t.policies, same)
}

// leaveTier notes that a pod left the tier.
func (c *Compiler) leaveTier(t *tier) {
	if t.pods--; t.pods > 0 {
		return
	}
	t.last = step{}
	rest := slices.DeleteFunc(c.tiers[t.sum], func(o *tier) bool { return o == t })
	if c.tiers[t.sum] = rest; len(rest) == 0 {
		delete(c.tiers, t.sum)
	}
}

// useTier adds the tier, and the stack that consists of it alone, to the program, or counts one more address that it
// judges.
func (c *Compiler) useTier(t *tier) {
	id := program.StackID(t.id)
	if c.stackRefs[id]++; c.stackRefs[id] > 1 {
		return
	}
	// NetworkPolicies only accept, and what none of them accepts is denied.
	pt := &program.Tier{ID: t.id, Policies: make([]program.PolicyRef, len(t.policies)), Default: program.Deny}
	for i, pol := range t.policies {
		pt.Policies[i] = pol.ref
	}
	c.prog.Tiers[t.id] = pt
	c.prog.Stacks[id] = &program.Stack{ID: id, Direction: t.d, Tiers: []program.TierID{t.id}}
	c.delta.Stacks[id] = struct{}{}
}

// releaseStack undoes one call of useTier.
func (c *Compiler) releaseStack(id program.StackID) {
	if c.stackRefs[id]--; c.stackRefs[id] > 0 {
		return
	}
	delete(c.stackRefs, id)
	for _, t := range c.prog.Stacks[id].Tiers {
		delete(c.prog.Tiers, t)
	}
	delete(c.prog.Stacks, id)
	c.delta.Stacks[id] = struct{}{}
}
