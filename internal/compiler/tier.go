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

// step leads from a tier to the one with one policy more, or one less.
type step struct {
	policy *policy
	add    bool
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

// isolate adds a policy to those that isolate the pod in a direction, or removes it.
func (c *Compiler) isolate(p *pod, pol *policy, d program.Direction, add bool) {
	prev := p.tiers[d]
	next := c.nextTier(prev, pol, d, add)
	if next != nil {
		next.pods++
	}
	if prev != nil {
		prev.last = step{pol, add, next}
		c.leaveTier(prev)
	}
	p.tiers[d] = next
	c.touch(p.addrs...)
}

// nextTier returns the tier that results from adding the policy to t, or removing it. A nil tier has no policies.
func (c *Compiler) nextTier(t *tier, pol *policy, d program.Direction, add bool) *tier {
	var sum fingerprint
	var policies []*policy
	if t != nil {
		if t.last.policy == pol && t.last.add == add && (t.last.to == nil || t.last.to.pods > 0) {
			return t.last.to
		}
		sum, policies = t.sum, slices.Clone(t.policies)
	}
	i, _ := slices.BinarySearchFunc(policies, pol, (*policy).compare)
	if add {
		sum, policies = sum.plus(pol.prints[d]), slices.Insert(policies, i, pol)
	} else {
		sum, policies = sum.minus(pol.prints[d]), slices.Delete(policies, i, i+1)
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
