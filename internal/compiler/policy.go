package compiler

import (
	"k8s.io/apimachinery/pkg/types"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
)

// policy is a policy object that exists.
type policy struct {
	ref program.PolicyRef
	// prints are the policy's share in the fingerprints of tiers, by direction.
	prints [2]fingerprint
	*parsed
	// subjectID is the ID of the active query of the policy's podSelector.
	subjectID string
	// pods are the pods of this node that the policy selects. Only a policy that selects at least one is part of
	// the program, and only its sets are kept up to date.
	pods map[*pod]struct{}
}

func (p *policy) compare(o *policy) int { return p.ref.Compare(o.ref) }

func newPolicy(key types.NamespacedName, reading *parsed) *policy {
	pol := &policy{ref: program.PolicyRef{Namespace: key.Namespace, Name: key.Name}, parsed: reading, pods: map[*pod]struct{}{}}
	for _, d := range program.Directions() {
		pol.prints[d] = policyPrint(pol.ref, d)
	}
	return pol
}

// replacePolicy replaces the known reading of a policy. A nil reading means that the policy is gone.
func (c *Compiler) replacePolicy(key types.NamespacedName, next *parsed) {
	pol := c.policies[key]
	switch {
	case next == nil && pol == nil:
	case next == nil:
		c.dropPolicy(pol)
		delete(c.policies, key)
	case pol == nil:
		pol = newPolicy(key, next)
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
	if prev.isolates != next.isolates {
		for p := range pol.pods {
			c.move(p, pol)
		}
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
}

func (c *Compiler) dropPolicy(pol *policy) {
	for p := range pol.pods {
		c.unselect(pol, p)
	}
	c.leaveSubject(pol, pol.subjectID)
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
	// The query is active already: its matches are the pods of any other policy that uses it.
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

// subjectChanged is called by the index when a pod of this node starts or stops matching a podSelector.
func (c *Compiler) subjectChanged(id string, key types.NamespacedName, matches bool) {
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
	if _, had := pol.pods[p]; had {
		return
	}
	pol.pods[p] = struct{}{}
	c.move(p, pol)
	if len(pol.pods) == 1 {
		c.swapSets(nil, pol.parsed)
		c.publish(pol)
	}
}

func (c *Compiler) unselect(pol *policy, p *pod) {
	if _, had := pol.pods[p]; !had {
		return
	}
	delete(pol.pods, p)
	c.move(p, pol)
	if len(pol.pods) == 0 {
		c.swapSets(pol.parsed, nil)
		delete(c.prog.Policies, pol.ref)
		c.delta.Policies[pol.ref] = struct{}{}
	}
}

// move notes that the policy may have begun or ceased to isolate the pod.
func (c *Compiler) move(p *pod, pol *policy) {
	p.changed = append(p.changed, pol)
	c.moving[p] = struct{}{}
}

// isolatesPod reports whether the policy isolates the pod in a direction.
func (p *policy) isolatesPod(of *pod, d program.Direction) bool {
	_, selected := p.pods[of]
	return selected && p.isolates[d]
}

// publish puts the policy's current rules into the program.
func (c *Compiler) publish(pol *policy) {
	rules := pol.rules
	rules.Ref = pol.ref
	c.prog.Policies[pol.ref] = &rules
	c.delta.Policies[pol.ref] = struct{}{}
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
