package sync

import (
	"context"
	"iter"
	"net/netip"

	"github.com/netpol-agent/netpol-agent/internal/compiler/evaluator"
	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/conntrack"
)

// tightened gives the addresses for whose connections a change may have forbidden something: every isolated
// address of this node whose rules are among what changed, and every address that left a set. It says too
// much rather than too little (a rule that was added counts like one that was taken away), because each
// connection is judged before it is cut.
func tightened(p *program.Program, c Change) iter.Seq[netip.Addr] {
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
				// No rule names it any more; whose rules those were stands in the delta's other parts.
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

// touches says whether the delta names the address itself or anything that judges it.
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

// Forbidden gives, of live connections, those that the present program would not let begin. A connection that
// another one announced (as FTP does) is forbidden only together with that one.
func (e *Engine) Forbidden(ctx context.Context, flows []conntrack.Flow) (out []conntrack.Flow, err error) {
	err = e.Do(ctx, func() {
		p := e.model.compiler.Program()
		for _, f := range flows {
			if denied(p, f.Connection()) && (f.Master == nil || denied(p, *f.Master)) {
				out = append(out, f)
			}
		}
	})
	if err != nil {
		// What was found before a failure is not returned: half an answer is none.
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
