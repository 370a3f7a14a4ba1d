// Package nft enforces rule programs through nf_tables: it keeps one table of family inet equal to the program, with one
// atomic transaction for each change.
//
// It decides when the kernel is read, into which transactions a difference is cut, and how one table replaces another. It
// does not decide what the rules are (package layout), how two rulesets differ (package change), what a transaction looks
// like on the wire (package kernel) or when to try again (its caller).
//
// There are two table names, of which one enforces. If a start finds too much to change at once, it fills the other table,
// which nothing refers to yet, in small transactions; the last of these hooks it in and unhooks the first. No packet meets
// a half-filled table, no packet meets none, and no transaction holds the kernel's netfilter lock for long.
package nft

import (
	"errors"
	"fmt"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/render"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/change"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/kernel"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/layout"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/model"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/ruleset"
)

// DefaultTable is the name of our table, unless a start has put another one in its place.
const DefaultTable = "netpol-agent"

// tables are the names that our table can have.
var tables = [2]string{DefaultTable, DefaultTable + "-2"}

// tableComment tells an operator whose table it is.
const tableComment = "NetworkPolicy; written by netpol-agent, changes by others are undone"

// DefaultMaxCost bounds a transaction to about 20 ms of the kernel's netfilter lock.
const DefaultMaxCost = 4000

// Kernel is what the renderer needs of nf_tables. kernel.Conn implements it.
type Kernel interface {
	// Commit carries out a transaction, all of it or nothing.
	Commit(tx *change.Tx) error
	// Read returns a table's content, and false if there is no such table.
	Read(table string) (*ruleset.Ruleset, bool, error)
	// Generation returns a number that every transaction committed in the network namespace changes.
	Generation() (uint32, error)
}

// Options configures a Renderer. The zero value stands for the defaults.
type Options struct {
	// MaxCost bounds each transaction of a start or repair. See change.Tx.Cost.
	MaxCost int
}

// Renderer keeps the kernel equal to a program. It is not safe for concurrent use.
type Renderer struct {
	kernel  Kernel
	maxCost int

	layout *layout.Layout
	// pending names what the layout changed and the kernel does not have yet.
	pending *ruleset.Dirty
	// table is the one that enforces. The kernel has of it what model holds, if known is set.
	table string
	model *model.Model
	known bool
	// generation is the kernel's after our last commit. foreign is set if somebody else committed meanwhile.
	generation uint32
	foreign    bool
}

// New returns a renderer that has written nothing.
func New(k Kernel, opts Options) *Renderer {
	if opts.MaxCost == 0 {
		opts.MaxCost = DefaultMaxCost
	}
	return &Renderer{kernel: k, maxCost: opts.MaxCost, layout: layout.New(), pending: ruleset.NewDirty(), table: tables[0]}
}

// Render returns a program's ruleset, without a kernel.
func Render(p *program.Program) *ruleset.Ruleset { return layout.Render(p) }

// Table returns the name of the table that enforces.
func (r *Renderer) Table() string { return r.table }

// Apply writes to the kernel what the delta names and what earlier calls failed to write. The change is one transaction.
// After an error the kernel enforces what it did before, and the next call reads back what the kernel has and makes up for
// the failure.
func (r *Renderer) Apply(p *program.Program, d *program.Delta) (render.Stats, error) {
	if !r.known {
		return r.Sync(p)
	}
	r.layout.Update(p, d)
	r.pending.Merge(r.layout.TakeDirty())
	if r.pending.Empty() {
		return render.Stats{}, nil
	}
	return r.commitPending()
}

// commitPending commits the difference and then removes what nothing refers to any more.
func (r *Renderer) commitPending() (render.Stats, error) {
	update, prune := change.Diff(r.table, r.model.Tables[r.table], r.layout.Ruleset(), r.pending)
	stats := count(update, prune)
	if err := r.commitUpdate(update); err != nil {
		return render.Stats{}, fmt.Errorf("table %s: %w", r.table, err)
	}
	if err := r.commit(prune); err != nil {
		return stats, fmt.Errorf("table %s: enforced, but not cleaned up: %w", r.table, err)
	}
	r.pending = ruleset.NewDirty()
	r.noteGeneration()
	return stats, nil
}

// commitUpdate first commits what is new, where no packet can meet it, and then the rest as one transaction.
func (r *Renderer) commitUpdate(update *change.Tx) error {
	first, rest := change.Prepare(update)
	if err := r.commit(first); err != nil {
		return err
	}
	return r.commit(rest)
}

// commit sends a transaction and keeps the model equal to the kernel. Any error leaves the kernel's content in doubt: either
// nobody knows whether it committed, or it is not what we thought.
func (r *Renderer) commit(tx *change.Tx) error {
	if tx.Empty() {
		return nil
	}
	if err := r.kernel.Commit(tx); err != nil {
		r.known = false
		return err
	}
	if err := r.model.Apply(tx); err != nil {
		r.known = false
		return fmt.Errorf("the kernel accepted what we expected it to refuse: %w", err)
	}
	r.generation++
	return nil
}

// noteGeneration compares the kernel's generation with the number of our commits.
func (r *Renderer) noteGeneration() {
	gen, err := r.kernel.Generation()
	if err != nil || gen != r.generation {
		r.foreign = true
	}
	r.generation = gen
}

// Drifted reports whether anybody committed anything, in whatever table, since we last compared ours. It costs one small
// request.
func (r *Renderer) Drifted() (bool, error) {
	gen, err := r.kernel.Generation()
	if err != nil {
		return false, fmt.Errorf("read the ruleset's generation: %w", err)
	}
	return r.foreign || gen != r.generation, nil
}

// PreciseDrift returns false: Drifted also returns true after commits to other tables.
func (r *Renderer) PreciseDrift() bool { return false }

// Cleanup removes our tables with everything in them, and nothing else, and returns their names. With dryRun it only
// returns the names. also names further tables of ours, which other parts of the agent keep for a while.
func Cleanup(k Kernel, dryRun bool, also ...string) ([]string, error) {
	var gone []string
	var errs []error
	for _, name := range append(tables[:], also...) {
		_, there, err := k.Read(name)
		if errors.Is(err, kernel.ErrForeignTable) {
			there, err = true, nil
		}
		if err == nil && there && !dryRun {
			err = k.Commit(deletion(name))
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("table %s: %w", name, err))
			continue
		}
		if there {
			gone = append(gone, name)
		}
	}
	return gone, errors.Join(errs...)
}

// deletion returns the transaction that removes a table.
func deletion(table string) *change.Tx {
	return &change.Tx{Ops: []change.Op{change.DelTable{Table: table}}}
}

func count(txs ...*change.Tx) render.Stats {
	var s render.Stats
	for _, tx := range txs {
		if !tx.Empty() {
			s.Ops += len(tx.Ops)
			s.Elements += tx.Cost() - len(tx.Ops)
		}
	}
	return s
}
