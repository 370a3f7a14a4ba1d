package program

import (
	"maps"
	"net/netip"
)

// Delta names what may differ between two states of a Program. It holds keys, never values: the reader
// looks up the current value in the Program, so deltas merge by union, and a lost or repeated event cannot
// leave a wrong value behind. A key that the Program no longer has was removed. Tiers need no keys: they never change,
// and come and go with the stacks that refer to them.
type Delta struct {
	Locals   map[netip.Addr]struct{}
	Stacks   map[StackID]struct{}
	Policies map[PolicyRef]struct{}
	// Sets holds, for each set that appeared, vanished or changed, the members that may have changed.
	Sets map[SetID]map[Member]struct{}
	// Bridges reports that the program's Bridges may have changed.
	Bridges bool
}

// NewDelta returns an empty Delta.
func NewDelta() *Delta {
	return &Delta{
		Locals:   map[netip.Addr]struct{}{},
		Stacks:   map[StackID]struct{}{},
		Policies: map[PolicyRef]struct{}{},
		Sets:     map[SetID]map[Member]struct{}{},
	}
}

// Everything returns a Delta that names all of p.
func (p *Program) Everything() *Delta {
	d := NewDelta()
	d.Bridges = true
	for a := range p.Locals {
		d.Locals[a] = struct{}{}
	}
	for id := range p.Stacks {
		d.Stacks[id] = struct{}{}
	}
	for id := range p.Policies {
		d.Policies[id] = struct{}{}
	}
	for id, s := range p.Sets {
		members := d.Set(id)
		for m := range s.Members {
			members[m] = struct{}{}
		}
	}
	return d
}

// Empty reports whether nothing changed.
func (d *Delta) Empty() bool {
	return !d.Bridges && len(d.Locals)+len(d.Stacks)+len(d.Policies)+len(d.Sets) == 0
}

// Set notes that the set appeared, vanished or changed, and returns its member keys. The caller may add to them.
func (d *Delta) Set(id SetID) map[Member]struct{} {
	m := d.Sets[id]
	if m == nil {
		m = map[Member]struct{}{}
		d.Sets[id] = m
	}
	return m
}

// Merge adds the keys of o.
func (d *Delta) Merge(o *Delta) {
	d.Bridges = d.Bridges || o.Bridges
	maps.Copy(d.Locals, o.Locals)
	maps.Copy(d.Stacks, o.Stacks)
	maps.Copy(d.Policies, o.Policies)
	for id, members := range o.Sets {
		maps.Copy(d.Set(id), members)
	}
}
