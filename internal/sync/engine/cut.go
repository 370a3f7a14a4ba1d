package engine

import (
	"context"
	"iter"
	"net/netip"

	"github.com/netpol-agent/netpol-agent/internal/compiler/evaluator"
	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/conntrack"
)

// Tightened returns the addresses with connections that the change may have forbidden: every isolated address of this
// node whose rules changed, and every address that left a set. It returns too many rather than too few (an added rule
// counts like a removed one), because each connection is judged before it is cut.
func (c Change) Tightened(p *program.Program) iter.Seq[netip.Addr] {
	return func(yield func(netip.Addr) bool) {
		for addr, local := range p.Locals {
			if local.Isolated() && (c.All || touches(p, c.Delta, addr, local)) && !yield(addr) {
				return
			}
		}
		if c.All {
			return
		}
		for id, members := range c.Delta.Sets {
			set := p.Sets[id]
			if set == nil {
				// No rule names it any more. The delta's other parts name the addresses that those rules judged.
				continue
			}
			for m := range members {
				if _, stays := set.Members[m]; !stays && !yield(m.Addr) {
					return
				}
			}
		}
	}
}

// touches reports whether the delta names the address itself or anything that judges it.
func touches(p *program.Program, d *program.Delta, addr netip.Addr, local *program.Local) bool {
	if _, ok := d.Locals[addr]; ok {
		return true
	}
	for _, direction := range program.Directions() {
		for _, id := range local.Stacks(direction) {
			if _, ok := d.Stacks[id]; ok || stackTouched(p, d, id) {
				return true
			}
		}
	}
	return false
}

func stackTouched(p *program.Program, d *program.Delta, id program.StackID) bool {
	if len(d.Policies) == 0 {
		return false
	}
	for _, tier := range p.TiersOf(id) {
		for _, policy := range tier.Policies {
			if _, ok := d.Policies[policy]; ok {
				return true
			}
		}
	}
	return false
}

// Forbidden returns those of some live connections that the current program would not allow to begin. A connection
// that another one announced (as in FTP) is forbidden only together with that one.
func (e *Engine) Forbidden(ctx context.Context, flows []conntrack.Flow) (out []conntrack.Flow, err error) {
	err = e.do(ctx, func() {
		p := e.model.compiler.Program()
		for _, f := range flows {
			if denied(p, f.Connection()) && (f.Master == nil || denied(p, *f.Master)) {
				out = append(out, f)
			}
		}
	})
	if err != nil {
		// What was found before a failure is not returned: half an answer is no answer.
		return nil, err
	}
	return out, nil
}

func denied(p *program.Program, t conntrack.Tuple) bool {
	pkt := evaluator.Packet{Src: t.Src, Dst: t.Dst, Protocol: t.Protocol, DstPort: t.DstPort}
	if t.Protocol == program.ICMPv6 {
		pkt.ICMPv6Type = t.ICMPType
	}
	return evaluator.Evaluate(p, pkt).Verdict == program.Deny
}
