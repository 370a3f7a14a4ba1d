package compiler

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
)

// settle brings the program's Locals up to date at the addresses that the event touched.
func (c *Compiler) settle() {
	for a := range c.dirty {
		c.settleLocal(a)
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

func (c *Compiler) settleLocal(a netip.Addr) {
	next := c.judge(a)
	prev := c.prog.Locals[a]
	if equalLocal(prev, next) {
		return
	}
	// The next stacks are counted before the previous ones go, so that those in both stay.
	c.countStacks(next, 1)
	c.countStacks(prev, -1)
	c.isolated += isolated(next) - isolated(prev)
	if next == nil {
		delete(c.prog.Locals, a)
	} else {
		c.prog.Locals[a] = next
	}
	c.delta.Locals[a] = struct{}{}
}

// judge says how an address is judged; nil if no pod of this node reports it.
func (c *Compiler) judge(a netip.Addr) *program.Local {
	at := c.addrs[a]
	if at == nil {
		return nil
	}
	l := &program.Local{}
	for _, p := range at.pods {
		if !p.local {
			continue
		}
		l.Pods = append(l.Pods, p.key.String())
		if id := stackID(p, program.Ingress); id != "" {
			l.Ingress = append(l.Ingress, id)
		}
		if id := stackID(p, program.Egress); id != "" {
			l.Egress = append(l.Egress, id)
		}
	}
	if len(l.Pods) == 0 {
		return nil
	}
	slices.Sort(l.Pods)
	slices.Sort(l.Ingress)
	slices.Sort(l.Egress)
	l.Ingress, l.Egress = slices.Compact(l.Ingress), slices.Compact(l.Egress)
	return l
}

// isolated gives 1 for the address of an isolated pod and 0 for others, for counting.
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

// stackID names how a pod is judged in one direction: by the union of the policies that isolate it there. It
// is empty for a pod that none isolates. Names of namespaces and policies hold neither colon nor comma.
func stackID(p *pod, d program.Direction) program.StackID {
	var id strings.Builder
	for _, pol := range p.policies {
		if !pol.isolates[d] {
			continue
		}
		if id.Len() == 0 {
			id.WriteString(d.String() + ":")
		} else {
			id.WriteByte(',')
		}
		id.WriteString(string(pol.id))
	}
	return program.StackID(id.String())
}

func newStack(id program.StackID) *program.Stack {
	dir, list, _ := strings.Cut(string(id), ":")
	s := &program.Stack{ID: id, Direction: program.Ingress}
	if dir == program.Egress.String() {
		s.Direction = program.Egress
	}
	tier := program.Tier{Default: program.Deny}
	for _, p := range strings.Split(list, ",") {
		tier.Policies = append(tier.Policies, program.PolicyID(p))
	}
	s.Tiers = []program.Tier{tier}
	return s
}

// countStacks adds n uses to each stack of l and makes or drops stacks accordingly.
func (c *Compiler) countStacks(l *program.Local, n int) {
	if l == nil {
		return
	}
	for _, d := range program.Directions() {
		for _, id := range l.Stacks(d) {
			was := c.stackRefs[id]
			c.stackRefs[id] = was + n
			switch {
			case was == 0:
				c.prog.Stacks[id] = newStack(id)
				c.delta.Stacks[id] = struct{}{}
			case was+n == 0:
				delete(c.stackRefs, id)
				delete(c.prog.Stacks, id)
				c.delta.Stacks[id] = struct{}{}
			}
		}
	}
}
