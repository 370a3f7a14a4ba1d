// Package layout decides what the rules look like: it turns a rule program into the ruleset of one nftables
// table, and keeps the ruleset up to date as the program changes.
//
// It does not decide what a policy means (the compiler did), how rules reach the kernel, or when.
//
// The shape follows from what was measured (docs/architecture.md): packets of known connections leave first;
// a new one finds its pod's chain through one verdict map a direction; pods that the same policies isolate
// share a chain, and every policy has one chain a direction; inside, ports stand before peers. Pods are
// members of plain hash sets, so that a pod event is an element; ipBlocks are prefixes or small interval
// sets whose overlaps are settled before.
package layout

import (
	"net/netip"
	"slices"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/ruleset"
)

// Layout holds the ruleset of a program. The same program gives the same ruleset whatever the steps to it.
type Layout struct {
	want  *ruleset.Ruleset
	dirty *ruleset.Dirty

	targets map[string]*target
	// byPolicy and byStack find the targets to render again.
	byPolicy map[program.PolicyID]map[*target]struct{}
	byStack  map[program.StackID]map[*target]struct{}
	// jumps counts, by direction, the targets that jump to a policy's own chain.
	jumps [2]map[program.PolicyID]int
	// locals holds the stacks of each address as last rendered.
	locals map[netip.Addr]localState
	// families are the IP families of this node's pods; no others need rules.
	families map[ruleset.Family]int
	units    map[string]unit
	// setRefs counts the units that use an interval set.
	setRefs map[string]int
	// bridges are those that the rules name.
	bridges []string
}

// localState is how an address was rendered last: the keys of its targets by direction, empty for none.
type localState struct{ keys [2]string }

// New gives the layout of the empty program.
func New() *Layout {
	l := &Layout{
		want:     skeleton(),
		dirty:    ruleset.NewDirty(),
		targets:  map[string]*target{},
		byPolicy: map[program.PolicyID]map[*target]struct{}{},
		byStack:  map[program.StackID]map[*target]struct{}{},
		locals:   map[netip.Addr]localState{},
		families: map[ruleset.Family]int{},
		units:    map[string]unit{},
		setRefs:  map[string]int{},
	}
	l.jumps = [2]map[program.PolicyID]int{{}, {}}
	for name := range l.want.Chains {
		l.dirty.Chain(name)
	}
	for name := range l.want.Sets {
		l.dirty.Set(name)
	}
	return l
}

// Render gives a program's ruleset from scratch.
func Render(p *program.Program) *ruleset.Ruleset {
	l := New()
	l.Update(p, p.Everything())
	return l.Ruleset()
}

// Ruleset gives the ruleset as of the last Update. It changes in place with the next one.
func (l *Layout) Ruleset() *ruleset.Ruleset { return l.want }

// TakeDirty gives what may have changed in the ruleset since the last call.
func (l *Layout) TakeDirty() *ruleset.Dirty {
	d := l.dirty
	l.dirty = ruleset.NewDirty()
	return d
}

// Update brings the ruleset up to date with the program, looking only at what the delta names.
func (l *Layout) Update(p *program.Program, d *program.Delta) {
	if l.countFamilies(p, d) {
		l.rebuild(p)
		return
	}
	l.apply(p, d)
}

func (l *Layout) apply(p *program.Program, d *program.Delta) {
	fams := l.inUse()
	if d.Bridges {
		l.updateBridges(p.Bridges)
	}
	for id, members := range d.Sets {
		l.updateSet(p.Sets[id], id, members, fams)
	}
	for id := range d.Stacks {
		for t := range l.byStack[id] {
			l.renderTarget(t, p, fams)
		}
	}
	for id := range d.Policies {
		for t := range l.byPolicy[id] {
			l.renderTarget(t, p, fams)
		}
		for _, dir := range program.Directions() {
			l.renderPolicy(id, dir, p, fams)
		}
	}
	for a := range d.Locals {
		l.updateLocal(a, p, fams)
	}
}

// countFamilies keeps count of this node's addresses by family, and says whether a family appeared or
// vanished.
func (l *Layout) countFamilies(p *program.Program, d *program.Delta) bool {
	before := l.inUse()
	for a := range d.Locals {
		_, had := l.locals[a]
		_, has := p.Locals[a]
		f := ruleset.FamilyOf(a)
		switch {
		case has && !had:
			l.families[f]++
			l.locals[a] = localState{}
		case had && !has:
			l.families[f]--
		}
	}
	return !slices.Equal(before, l.inUse())
}

func (l *Layout) inUse() []ruleset.Family {
	var out []ruleset.Family
	for _, f := range families {
		if l.families[f] > 0 {
			out = append(out, f)
		}
	}
	return out
}

// rebuild starts from scratch, for the rare event that changes what every rule looks like. Everything that
// was there before or is there now is dirty.
func (l *Layout) rebuild(p *program.Program) {
	fresh, all := New(), p.Everything()
	fresh.countFamilies(p, all)
	fresh.apply(p, all)
	fresh.dirty.Merge(l.dirty)
	for _, r := range []*ruleset.Ruleset{l.want, fresh.want} {
		for name := range r.Chains {
			fresh.dirty.Chain(name)
		}
		for name := range r.Sets {
			fresh.dirty.Set(name)
		}
	}
	*l = *fresh
}
