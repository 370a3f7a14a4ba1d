package compiler

import (
	"slices"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/selector"
)

// policy is a policy object that exists.
type policy struct {
	key selector.PodKey
	id  program.PolicyID
	*parsed
	// subjectID is the active query of the policy's podSelector.
	subjectID string
	// pods are the pods of this node that the policy selects. Only a policy that selects one is part of the
	// program, and only its sets are kept up to date.
	pods map[*pod]struct{}
}

// replacePolicy goes from what is known of a policy to the given reading of it; nil means it is gone.
func (c *Compiler) replacePolicy(key selector.PodKey, next *parsed) {
	pol := c.policies[key]
	switch {
	case next == nil && pol == nil:
	case next == nil:
		c.dropPolicy(pol)
	case pol == nil:
		pol = &policy{key: key, id: program.PolicyID(key.String()), parsed: next, pods: map[*pod]struct{}{}}
		c.policies[key] = pol
		c.subscribe(pol)
	case !pol.equal(next):
		c.changePolicy(pol, next)
	}
}

func (c *Compiler) changePolicy(pol *policy, next *parsed) {
	prev := pol.parsed
	pol.parsed = next
	if len(pol.pods) > 0 {
		c.swapSets(prev, next)
		c.publish(pol)
	}
	if pol.subjectID != next.subject.ID() {
		old := pol.subjectID
		c.subscribe(pol)
		c.leaveSubject(pol, old)
		for p := range pol.pods {
			if !next.subject.Pods.Matches(p.labels) {
				c.unselect(pol, p)
			}
		}
	}
	if prev.isolates != next.isolates {
		for p := range pol.pods {
			c.touch(p.addrs...)
		}
	}
}

func (c *Compiler) dropPolicy(pol *policy) {
	for p := range pol.pods {
		c.unselect(pol, p)
	}
	c.leaveSubject(pol, pol.subjectID)
	delete(c.policies, pol.key)
}

// subscribe makes the policy's podSelector active; the pods that match are selected before it returns.
func (c *Compiler) subscribe(pol *policy) {
	pol.subjectID = pol.subject.ID()
	owners := c.bySubject[pol.subjectID]
	if owners == nil {
		c.bySubject[pol.subjectID] = map[*policy]struct{}{pol: {}}
		c.subjects.Acquire(pol.subject)
		return
	}
	// The query is active already, so its matches are those of any policy that uses it.
	for other := range owners {
		for p := range other.pods {
			c.selectPod(pol, p)
		}
		break
	}
	owners[pol] = struct{}{}
}

func (c *Compiler) leaveSubject(pol *policy, id string) {
	owners := c.bySubject[id]
	delete(owners, pol)
	if len(owners) == 0 {
		delete(c.bySubject, id)
		c.subjects.Release(id)
	}
}

// subjectChanged hears from the index that a pod of this node began or ceased to match a podSelector.
func (c *Compiler) subjectChanged(id string, key selector.PodKey, matches bool) {
	p := c.pods[key]
	for pol := range c.bySubject[id] {
		if matches {
			c.selectPod(pol, p)
		} else {
			c.unselect(pol, p)
		}
	}
}

func (c *Compiler) selectPod(pol *policy, p *pod) {
	i, had := p.find(pol)
	if had {
		return
	}
	p.policies = slices.Insert(p.policies, i, pol)
	pol.pods[p] = struct{}{}
	c.touch(p.addrs...)
	if len(pol.pods) == 1 {
		c.swapSets(nil, pol.parsed)
		c.publish(pol)
	}
}

func (c *Compiler) unselect(pol *policy, p *pod) {
	i, had := p.find(pol)
	if !had {
		return
	}
	p.policies = slices.Delete(p.policies, i, i+1)
	delete(pol.pods, p)
	c.touch(p.addrs...)
	if len(pol.pods) == 0 {
		c.swapSets(pol.parsed, nil)
		delete(c.prog.Policies, pol.id)
		c.delta.Policies[pol.id] = struct{}{}
	}
}

// publish puts the policy's present rules into the program.
func (c *Compiler) publish(pol *policy) {
	rules := pol.rules
	rules.ID, rules.Namespace, rules.Name = pol.id, pol.key.Namespace, pol.key.Name
	c.prog.Policies[rules.ID] = &rules
	c.delta.Policies[rules.ID] = struct{}{}
}

// swapSets acquires what the next reading needs before it releases what the previous one needed, so that
// sets that both use stay.
func (c *Compiler) swapSets(prev, next *parsed) {
	if next != nil {
		for _, ref := range next.refs {
			c.acquireSet(ref)
		}
	}
	if prev != nil {
		for _, ref := range prev.refs {
			c.releaseSet(ref)
		}
	}
}
