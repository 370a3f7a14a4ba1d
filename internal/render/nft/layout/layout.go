// Package layout decides what the rules look like: it turns a rule program into the ruleset of one nftables
// table, and keeps the ruleset up to date as the program changes.
//
// It does not decide what a policy means (the compiler did), what is left to do after a change (package arrange keeps
// the books), how rules reach the kernel, or when.
//
// The shape follows from what was measured (docs/architecture.md): packets of known connections leave first;
// a new one finds its pod's chain through one verdict map per direction; pods that the same policies isolate
// share a chain, and every policy has one chain per direction; inside, ports come before peers. Pods are
// members of plain hash sets, so that a pod event changes one element; ipBlocks are prefixes or small interval
// sets whose overlaps are resolved beforehand.
package layout

import (
	"slices"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/render/arrange"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/ruleset"
)

type (
	book = arrange.Book[ruleset.Chain, ruleset.Set, ruleset.Elem]
	unit = arrange.Unit[ruleset.Chain, ruleset.Set]
)

// Layout holds the ruleset of a program. The same program yields the same ruleset, whatever changes led to it.
type Layout struct {
	want *ruleset.Ruleset
	book *book
	// families are the IP families of this node's pods; no others need rules.
	families []ruleset.Family
}

// New returns the layout of the empty program.
func New() *Layout {
	l := &Layout{want: ruleset.New()}
	l.book = arrange.NewBook(l, l.want.Chains, l.want.Sets)
	l.addSkeleton(nil)
	return l
}

// Render returns a program's ruleset from scratch.
func Render(p *program.Program) *ruleset.Ruleset {
	l := New()
	l.Update(p, p.Everything())
	return l.Ruleset()
}

// Ruleset returns the ruleset as of the last Update. It changes in place with the next one.
func (l *Layout) Ruleset() *ruleset.Ruleset { return l.want }

// TakeDirty returns what may have changed in the ruleset since the last call.
func (l *Layout) TakeDirty() *ruleset.Dirty { return l.book.TakeDirty() }

// Update brings the ruleset up to date with the program, looking only at what the delta names.
func (l *Layout) Update(p *program.Program, d *program.Delta) {
	next := inUse(l.book.CountAfter(p, d))
	if !slices.Equal(l.families, next) {
		l.families = next
		l.book.Reset()
		l.addSkeleton(p.Bridges)
		l.book.Apply(p, p.Everything())
		return
	}
	if d.Bridges {
		l.book.Fix(skeleton, skeletonChains(p.Bridges))
	}
	l.book.Apply(p, d)
}

// inUse returns the families that have addresses.
func inUse(n arrange.Counts) []ruleset.Family {
	var out []ruleset.Family
	if n.V4 > 0 {
		out = append(out, ruleset.V4)
	}
	if n.V6 > 0 {
		out = append(out, ruleset.V6)
	}
	return out
}

// skeleton is the name of the unit that holds the chains that every ruleset has.
const skeleton = "skeleton"

func (l *Layout) addSkeleton(bridges []string) {
	l.book.Fix(skeleton, skeletonChains(bridges))
	for _, s := range skeletonSets() {
		l.book.AddSet(s.Name, s)
	}
}
