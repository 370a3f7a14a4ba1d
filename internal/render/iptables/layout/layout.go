// Package layout decides what the rules look like: it turns a rule program into chains of the filter table and
// ipsets, and keeps them up to date as the program changes. IPv4 and IPv6 are laid out separately; a family
// that no pod of this node has gets nothing.
//
// It does not decide what a policy means (the compiler did), what is left to do after a change (package arrange keeps
// the books), how rules reach the kernel, or when.
//
// In iptables an ACCEPT ends the whole hook, which would skip the rules of others behind ours, and a RETURN pops
// one jump only. Hence our rules jump exactly twice: once for the egress of the packet's source, once for the
// ingress of its destination. Everything inside is reached by goto, so that a RETURN always leads back to one of
// these two places. RETURN means "this end allows it". An address that nobody isolates falls off the end of a
// tree, which means the same. DROP is final:
//
//	NETPOL-FORWARD   known connections -> RETURN; jump NETPOL-EGRESS; jump NETPOL-INGRESS
//	NETPOL-EGRESS    tree over this node's isolated addresses -> goto the chain of their policies
//	NETPOL-PE-...    one chain for each combination of policies: what they allow -> RETURN, the rest -> goto:
//	NETPOL-DENIED    a pod to itself -> RETURN, everything else DROP
//
// No packet mark is used, so none can collide. A tree of prefixes finds the address in as many steps as it is
// deep, instead of walking all pods. Inside a chain ports come before peers; many ports are one multiport match;
// pods are members of hash sets, ipBlocks are prefixes or hash:net sets that never change. The nftables
// variant of the binary follows at most 16 chains in a row, which bounds the depth of the tree.
package layout

import (
	"net/netip"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/render/arrange"
	"github.com/netpol-agent/netpol-agent/internal/render/iptables/ruleset"
)

type (
	book = arrange.Book[ruleset.Chain, ruleset.Set, ruleset.Member]
	unit = arrange.Unit[ruleset.Chain, ruleset.Set]
)

// Layout holds the ruleset of a program. The same program yields the same ruleset, whatever changes led to it.
type Layout struct{ v4, v6 *family }

// New returns the layout of the empty program.
func New() *Layout { return &Layout{newFamily(ruleset.V4), newFamily(ruleset.V6)} }

// Render returns a program's ruleset from scratch.
func Render(p *program.Program) *ruleset.Ruleset {
	l := New()
	l.Update(p, p.Everything())
	return l.Ruleset()
}

// Ruleset returns the ruleset as of the last Update. It changes in place with the next one.
func (l *Layout) Ruleset() *ruleset.Ruleset { return &ruleset.Ruleset{V4: l.v4.want, V6: l.v6.want} }

// Update brings the ruleset up to date with the program, looking only at what the delta names.
func (l *Layout) Update(p *program.Program, d *program.Delta) {
	l.v4.update(p, d)
	l.v6.update(p, d)
}

// TakeDirty returns what may have changed in a family since the last call.
func (l *Layout) TakeDirty(f ruleset.Family) *ruleset.Dirty {
	if f == ruleset.V6 {
		return l.v6.book.TakeDirty()
	}
	return l.v4.book.TakeDirty()
}

// family is the layout of one IP family.
type family struct {
	f      ruleset.Family
	extent extent
	want   *ruleset.Table
	book   *book
	// entries holds the chain that each isolated address goes to, by direction; moved notes that one changed.
	entries [2]map[netip.Addr]string
	moved   bool
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

func newFamily(f ruleset.Family) *family {
	l := &family{f: f, want: ruleset.NewTable(f), entries: [2]map[netip.Addr]string{{}, {}}}
	l.book = arrange.NewBook(l, l.want.Chains, l.want.Sets)
	return l
}

func (l *family) update(p *program.Program, d *program.Delta) {
	next := nothing
	switch n := l.book.CountAfter(p, d); {
	case n.V4+n.V6 > 0:
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

// rebuild starts from scratch when the family needs more or less than before.
func (l *family) rebuild(p *program.Program, next extent) {
	l.book.Reset()
	l.entries = [2]map[netip.Addr]string{{}, {}}
	if l.extent = next; next != nothing {
		l.moved = true
		l.apply(p, p.Everything())
	}
}

func (l *family) apply(p *program.Program, d *program.Delta) {
	if d.Bridges && l.extent != nothing {
		l.book.Fix("skeleton", skeleton(l.f, p.Bridges))
	}
	if l.extent == whole { // else no rule names a set
		l.book.Apply(p, d)
	}
	if l.moved {
		l.putTrees()
		l.moved = false
	}
}
