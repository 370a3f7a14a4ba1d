// Package nft enforces rule programs through nf_tables: it keeps one table of family inet equal to the
// program, with one atomic transaction for each change.
//
// It decides when the kernel is read, what a difference becomes in terms of transactions, and how a whole
// table takes another's place. It does not decide what the rules are (package layout), what a transaction
// looks like on the wire (package kernel) or when to try again (its caller).
//
// Two tables share the work over time. One enforces; a start that finds too much to change at once fills the
// other one, which nothing refers to yet, in small transactions, and the last of these hooks it in and
// unhooks the first. No packet meets a half-filled table, no packet meets none, and no transaction holds the
// kernel's netfilter lock for long.
package nft

import (
	"errors"
	"fmt"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/render"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/kernel"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/layout"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/ruleset"
)

// Tables are the names that our table can have.
var tables = [2]string{"netpol-agent", "netpol-agent-2"}

// tableComment tells an operator whose table it is.
const tableComment = "NetworkPolicy; written by netpol-agent, changes by others are undone"

// DefaultMaxCost bounds a transaction: about 20 ms of the kernel's netfilter lock.
const DefaultMaxCost = 4000

// Kernel is what the renderer needs of nf_tables; kernel.Conn is one.
type Kernel interface {
	// Commit applies a transaction, all of it or nothing.
	Commit(tx *ruleset.Tx) error
	// Read gives a table's content; false if there is no such table.
	Read(table string) (*ruleset.Ruleset, bool, error)
	// Generation gives a number that every committed transaction of the network namespace changes.
	Generation() (uint32, error)
}

// Options of a Renderer. The zero value has the defaults.
type Options struct {
	// MaxCost bounds each transaction of a start or repair; see ruleset.Tx.Cost.
	MaxCost int
}

// Renderer keeps the kernel equal to a program. It is not safe for concurrent use.
type Renderer struct {
	kernel  Kernel
	maxCost int

	layout *layout.Layout
	// pending is what the layout changed and the kernel does not have yet.
	pending *ruleset.Dirty
	// table is the one that enforces; model holds what the kernel has of it, as far as known says so.
	table string
	model *ruleset.Model
	known bool
	// generation is the kernel's after our last commit; foreign notes that somebody else committed meanwhile.
	generation uint32
	foreign    bool
}

// New gives a renderer that has written nothing.
func New(k Kernel, opts Options) *Renderer {
	if opts.MaxCost == 0 {
		opts.MaxCost = DefaultMaxCost
	}
	return &Renderer{kernel: k, maxCost: opts.MaxCost, layout: layout.New(), pending: ruleset.NewDirty(), table: tables[0]}
}

// Render gives a program's ruleset from scratch, without a kernel.
func Render(p *program.Program) *ruleset.Ruleset { return layout.Render(p) }

// Table gives the name of the table that enforces.
func (r *Renderer) Table() string { return r.table }

// Text gives the canonical text of the ruleset as it should be.
func (r *Renderer) Text() string { return r.layout.Ruleset().Text(r.table) }

// Apply brings into the kernel what the delta names, and what earlier calls failed to bring. The change is one
// transaction. After an error the kernel enforces what it did before, and the next call makes up for it,
// after reading back what the kernel has.
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
	change, sweep := ruleset.Diff(r.table, r.model.Tables[r.table], r.layout.Ruleset(), r.pending)
	stats := count(change, sweep)
	if err := r.commitChange(change); err != nil {
		return render.Stats{}, fmt.Errorf("table %s: %w", r.table, err)
	}
	if err := r.commit(sweep); err != nil {
		return stats, fmt.Errorf("table %s: enforced, but not cleaned up: %w", r.table, err)
	}
	r.pending = ruleset.NewDirty()
	r.noteGeneration()
	return stats, nil
}

// commitChange commits a difference: what is new in it first, where no packet can meet it, then all the rest as one.
func (r *Renderer) commitChange(change *ruleset.Tx) error {
	first, rest := ruleset.Prepare(change)
	if err := r.commit(first); err != nil {
		return err
	}
	return r.commit(rest)
}

// commit sends a transaction and keeps the model equal to the kernel. Any error leaves the kernel's content
// in doubt: either nobody knows whether it committed, or it is not what we thought.
func (r *Renderer) commit(tx *ruleset.Tx) error {
	if tx.Empty() {
		return nil
	}
	if err := r.kernel.Commit(tx); err != nil {
		r.known = false
		return err
	}
	if err := r.model.Apply(tx); err != nil {
		r.known = false
		return fmt.Errorf("the kernel took what we expected it to refuse: %w", err)
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

// Drifted says whether anybody, in whatever table, committed anything since we last compared ours. It costs
// one small request.
func (r *Renderer) Drifted() (bool, error) {
	gen, err := r.kernel.Generation()
	if err != nil {
		return false, fmt.Errorf("read the ruleset's generation: %w", err)
	}
	return r.foreign || gen != r.generation, nil
}

// PreciseDrift returns false: Drifted also returns true after commits to other tables.
func (r *Renderer) PreciseDrift() bool { return false }

// Cleanup removes our tables with everything in them, and nothing else. It gives the names of those that
// were there.
func (r *Renderer) Cleanup() ([]string, error) { return Cleanup(r.kernel, false) }

// Cleanup removes our tables with everything in them, and nothing else; with dryRun it only says which there
// are. also names further tables of ours, those that other parts of the agent keep for a while.
func Cleanup(k Kernel, dryRun bool, also ...string) ([]string, error) {
	var gone []string
	var errs []error
	for _, name := range append(tables[:], also...) {
		_, there, err := k.Read(name)
		if errors.Is(err, kernel.ErrForeignTable) {
			there, err = true, nil
		}
		if err == nil && there && !dryRun {
			err = k.Commit(&ruleset.Tx{Ops: []ruleset.Op{ruleset.DelTable{Table: name}}})
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

func count(txs ...*ruleset.Tx) render.Stats {
	var s render.Stats
	for _, tx := range txs {
		if !tx.Empty() {
			s.Ops += len(tx.Ops)
			s.Elements += tx.Cost() - len(tx.Ops)
		}
	}
	return s
}
