// Package layout decides what the rules look like: it turns a rule program into chains of the filter table and
// ipsets, and keeps them up to date as the program changes. IPv4 and IPv6 are laid out separately; a family
// that no pod of this node has gets nothing.
//
// It does not decide what a policy means (the compiler did), how rules reach the kernel, or when.
//
// In iptables an ACCEPT ends the whole hook, so that rules of others behind ours would be skipped, and a RETURN
// pops one jump only. Hence ours jump exactly twice: once for the egress of the packet's source, once for the
// ingress of its destination. Everything inside is reached by goto, which leaves nothing to return to but these
// two places. There RETURN means "this end allows it", falls off the end of a tree for addresses that nobody
// isolates, and DROP is final:
//
//	NETPOL-FORWARD   known connections -> RETURN; jump NETPOL-EGRESS; jump NETPOL-INGRESS
//	NETPOL-EGRESS    tree over this node's isolated addresses -> goto the chain of their policies
//	NETPOL-PE-...    one chain for each combination of policies: what they allow -> RETURN, the rest -> goto:
//	NETPOL-DENIED    a pod to itself -> RETURN, everything else DROP
//
// No packet mark is used, so none can collide. A tree of prefixes finds the address in the steps of its depth
// instead of walking all pods. Inside a chain ports stand before peers; many ports are one multiport match;
// pods are members of hash sets, ipBlocks are prefixes or hash:net sets that never change. The nftables
// variant of the binary follows at most 16 chains in a row, which bounds the depth of the tree.
package layout

import (
	"net/netip"
	"slices"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/render/iptables/ruleset"
)

// Layout holds the ruleset of a program. The same program gives the same ruleset whatever the steps to it.
type Layout struct{ v4, v6 *family }

// New gives the layout of the empty program.
func New() *Layout { return &Layout{newFamily(ruleset.V4), newFamily(ruleset.V6)} }

// Render gives a program's ruleset from scratch.
func Render(p *program.Program) *ruleset.Ruleset {
	l := New()
	l.Update(p, p.Everything())
	return l.Ruleset()
}

// Ruleset gives the ruleset as of the last Update. It changes in place with the next one.
func (l *Layout) Ruleset() *ruleset.Ruleset { return &ruleset.Ruleset{V4: l.v4.want, V6: l.v6.want} }

// Update brings the ruleset up to date with the program, looking only at what the delta names.
func (l *Layout) Update(p *program.Program, d *program.Delta) {
	l.v4.update(p, d)
	l.v6.update(p, d)
}

// TakeDirty gives what may have changed in a family since the last call.
func (l *Layout) TakeDirty(f ruleset.Family) *ruleset.Dirty {
	x := l.v4
	if f == ruleset.V6 {
		x = l.v6
	}
	d := x.dirty
	x.dirty = ruleset.NewDirty()
	return d
}

// family is the layout of one IP family.
type family struct {
	f      ruleset.Family
	extent extent
	want   *ruleset.Table
	dirty  *ruleset.Dirty

	targets map[string]*target
	// byPolicy and byStack find the targets to render again.
	byPolicy map[program.PolicyID]map[*target]struct{}
	byStack  map[program.StackID]map[*target]struct{}
	// locals holds each address of this node's pods with the keys of its targets by direction, empty for none.
	locals map[netip.Addr][2]string
	// entries holds the chain that each isolated address is led to, by direction.
	entries [2]map[netip.Addr]string
	units   map[string]unit
	// setRefs counts the units that use a set of blocks.
	setRefs map[string]int
}

// extent is how much a family needs.
type extent uint8

const (
	// nothing: no packet of the family concerns this node's pods.
	nothing extent = iota
	// bridgesOnly: the cluster gives pods no address of the family, but they can have link-local ones.
	bridgesOnly
	// whole: pods have addresses of the family.
	whole
)

// unit is the part of a table that one owner yields.
type unit struct {
	chains []*ruleset.Chain
	// sets are sets of blocks that the chains use; their names follow from their content.
	sets []*ruleset.Set
}

func newFamily(f ruleset.Family) *family {
	return &family{
		f:        f,
		want:     ruleset.NewTable(f),
		dirty:    ruleset.NewDirty(),
		targets:  map[string]*target{},
		byPolicy: map[program.PolicyID]map[*target]struct{}{},
		byStack:  map[program.StackID]map[*target]struct{}{},
		locals:   map[netip.Addr][2]string{},
		entries:  [2]map[netip.Addr]string{{}, {}},
		units:    map[string]unit{},
		setRefs:  map[string]int{},
	}
}

func (l *family) update(p *program.Program, d *program.Delta) {
	next := nothing
	switch {
	case l.countLocals(p, d) > 0:
		next = whole
	case len(p.Bridges) > 0:
		next = bridgesOnly
	}
	if l.extent != next {
		l.rebuild(p, next)
		return
	}
	l.apply(p, d)
}

// countLocals gives the number of this node's addresses of the family as of the program.
func (l *family) countLocals(p *program.Program, d *program.Delta) int {
	n := len(l.locals)
	for a := range d.Locals {
		if ruleset.FamilyOf(a) != l.f {
			continue
		}
		_, had := l.locals[a]
		_, has := p.Locals[a]
		switch {
		case has && !had:
			n++
		case had && !has:
			n--
		}
	}
	return n
}

// rebuild starts from scratch when the family needs more or less than before. Everything that was
// there before or is there now is dirty.
func (l *family) rebuild(p *program.Program, next extent) {
	fresh := newFamily(l.f)
	if fresh.extent = next; next != nothing {
		fresh.putTrees()
		fresh.apply(p, p.Everything())
	}
	fresh.dirty.Merge(l.dirty)
	for name := range l.want.Chains {
		fresh.dirty.Chain(name)
	}
	for name := range l.want.Sets {
		fresh.dirty.Set(name)
	}
	*l = *fresh
}

func (l *family) apply(p *program.Program, d *program.Delta) {
	if d.Bridges && l.extent != nothing {
		l.putUnit("skeleton", skeleton(l.f, p.Bridges))
	}
	if l.extent != whole {
		return // no rule names a set
	}
	for id, members := range d.Sets {
		l.updateSet(p.Sets[id], id, members)
	}
	for id := range d.Stacks {
		for t := range l.byStack[id] {
			l.renderTarget(t, p)
		}
	}
	for id := range d.Policies {
		for t := range l.byPolicy[id] {
			l.renderTarget(t, p)
		}
	}
	moved := false
	for a := range d.Locals {
		if ruleset.FamilyOf(a) == l.f {
			moved = l.updateLocal(a, p) || moved
		}
	}
	if moved {
		l.putTrees()
	}
}

// updateSet brings the set of this family up to date at the given members.
func (l *family) updateSet(s *program.Set, id program.SetID, members map[program.Member]struct{}) {
	if s == nil {
		l.dropSet(peerSet(id, l.f))
		l.dropSet(portSet(id, l.f))
		return
	}
	name, typ := peerSet(id, l.f), ruleset.HashIP
	if s.Kind == program.NamedPorts {
		name, typ = portSet(id, l.f), ruleset.HashIPPort
	}
	set := l.want.Sets[name]
	if set == nil {
		set = &ruleset.Set{Name: name, Type: typ, Members: make(map[ruleset.Member]struct{}, len(members))}
		l.want.Sets[name] = set
		l.dirty.Set(name)
		members = s.Members
	}
	for m := range members {
		if ruleset.FamilyOf(m.Addr) != l.f {
			continue
		}
		key := ruleset.Member{Prefix: ruleset.Host(m.Addr)}
		if typ == ruleset.HashIPPort {
			key.Protocol, key.Port = s.Protocol, m.Port
		}
		if _, in := s.Members[m]; in {
			set.Members[key] = struct{}{}
		} else {
			delete(set.Members, key)
		}
		l.dirty.Member(name, key)
	}
}

func (l *family) dropSet(name string) {
	if _, had := l.want.Sets[name]; had {
		delete(l.want.Sets, name)
		l.dirty.Set(name)
	}
}

// putUnit replaces what an owner contributes to the table; the empty unit takes it out.
func (l *family) putUnit(owner string, next unit) {
	prev := l.units[owner]
	for _, s := range next.sets {
		if l.setRefs[s.Name]++; l.setRefs[s.Name] == 1 {
			l.want.Sets[s.Name] = s
			l.dirty.Set(s.Name)
		}
	}
	for _, c := range next.chains {
		l.want.Chains[c.Name] = c
		l.dirty.Chain(c.Name)
	}
	for _, c := range prev.chains {
		if !slices.ContainsFunc(next.chains, func(n *ruleset.Chain) bool { return n.Name == c.Name }) {
			delete(l.want.Chains, c.Name)
			l.dirty.Chain(c.Name)
		}
	}
	for _, s := range prev.sets {
		if l.setRefs[s.Name]--; l.setRefs[s.Name] == 0 {
			delete(l.setRefs, s.Name)
			l.dropSet(s.Name)
		}
	}
	if len(next.chains) == 0 {
		delete(l.units, owner)
	} else {
		l.units[owner] = next
	}
}
