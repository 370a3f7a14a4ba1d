package compiler

import (
	"net/netip"
	"slices"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
)

// settle brings the program's Locals up to date at the addresses that the event touched.
func (c *Compiler) settle() {
	c.settleTiers()
	// Count all new stacks before releasing any previous one, so that a stack in both stays.
	var prev []program.StackID
	for a := range c.dirty {
		prev = append(prev, c.settleLocal(a)...)
	}
	for _, id := range prev {
		c.releaseStack(id)
	}
	clear(c.dirty)
	c.settleBridges()
}

// settleBridges brings the program's Bridges up to date.
func (c *Compiler) settleBridges() {
	next := c.bridges
	if c.isolated == 0 {
		next = nil
	}
	if !slices.Equal(c.prog.Bridges, next) {
		c.prog.Bridges, c.delta.Bridges = next, true
	}
}

// settleLocal brings one address up to date and returns the stacks to release.
func (c *Compiler) settleLocal(a netip.Addr) []program.StackID {
	next, tiers := c.judge(a)
	prev := c.prog.Locals[a]
	if equalLocal(prev, next) {
		return nil
	}
	for _, t := range tiers {
		c.useTier(t)
	}
	c.isolated += isolated(next) - isolated(prev)
	if next == nil {
		delete(c.prog.Locals, a)
	} else {
		c.prog.Locals[a] = next
	}
	c.delta.Locals[a] = struct{}{}
	if prev == nil {
		return nil
	}
	return slices.Concat(prev.Ingress, prev.Egress)
}

// judge returns how an address is judged and by which tiers. It returns nil if no pod of this node reports the address.
func (c *Compiler) judge(a netip.Addr) (*program.Local, []*tier) {
	at := c.addrs[a]
	if at == nil {
		return nil, nil
	}
	l := &program.Local{}
	var tiers [2][]*tier
	for _, p := range at.pods {
		if !p.local {
			continue
		}
		l.Pods = append(l.Pods, p.key.String())
		for d, t := range p.tiers {
			if t != nil {
				tiers[d] = append(tiers[d], t)
			}
		}
	}
	if len(l.Pods) == 0 {
		return nil, nil
	}
	slices.Sort(l.Pods)
	l.Ingress, tiers[program.Ingress] = stacks(tiers[program.Ingress])
	l.Egress, tiers[program.Egress] = stacks(tiers[program.Egress])
	return l, slices.Concat(tiers[program.Ingress], tiers[program.Egress])
}

// stacks returns the stacks of the tiers, and the tiers, each once and in the order of their policies.
func stacks(tiers []*tier) ([]program.StackID, []*tier) {
	slices.SortFunc(tiers, func(a, b *tier) int { return slices.CompareFunc(a.policies, b.policies, (*policy).compare) })
	tiers = slices.Compact(tiers)
	var ids []program.StackID
	for _, t := range tiers {
		ids = append(ids, program.StackID(t.id))
	}
	return ids, tiers
}

// isolated returns 1 for the address of an isolated pod and 0 for any other, for counting.
func isolated(l *program.Local) int {
	if l != nil && l.Isolated() {
		return 1
	}
	return 0
}

func equalLocal(a, b *program.Local) bool {
	if a == nil || b == nil {
		return a == b
	}
	return slices.Equal(a.Pods, b.Pods) && slices.Equal(a.Ingress, b.Ingress) && slices.Equal(a.Egress, b.Egress)
}
