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

// Sync reads what the kernel has and makes it equal to the program, whatever it was: nothing, what an earlier run left, or
// what somebody else made of it. The rules are laid out from scratch, so that a mistake in an earlier step is corrected.
func (r *Renderer) Sync(p *program.Program) (render.Stats, error) {
	r.known = false
	r.layout = layout.New()
	r.layout.Update(p, p.Everything())
	r.layout.TakeDirty()
	r.pending = ruleset.NewDirty()
	gen, err := r.kernel.Generation()
	if err != nil {
		return render.Stats{}, fmt.Errorf("read the ruleset's generation: %w", err)
	}
	// A commit by somebody else after this shows as a generation that our own commits do not explain.
	r.generation, r.foreign = gen, false
	found, err := r.adopt()
	switch {
	case err != nil:
		return render.Stats{}, err
	case found == nothing:
		return r.replace("")
	case found == opaque:
		return r.replace(r.table)
	}
	update, prune := change.Diff(r.table, r.model.Tables[r.table], r.layout.Ruleset(), nil)
	if update.Cost() > r.maxCost {
		return r.replace(r.table)
	}
	r.known = true
	stats := count(update, prune)
	if err := r.commitUpdate(update); err != nil {
		return render.Stats{}, fmt.Errorf("table %s: %w", r.table, err)
	}
	if err := r.commitSplit(prune); err != nil {
		return render.Stats{}, fmt.Errorf("table %s: %w", r.table, err)
	}
	r.noteGeneration()
	return stats, nil
}

// commitSplit commits in parts what no packet can notice before the last one.
func (r *Renderer) commitSplit(tx *change.Tx) error {
	for _, part := range change.Split(tx, r.maxCost) {
		if err := r.commit(part); err != nil {
			return err
		}
	}
	return nil
}

// finding is what adopt found in the kernel.
type finding uint8

const (
	// nothing means that no table of ours enforces.
	nothing finding = iota
	// readable is a table whose content is known and can be changed by differences.
	readable
	// opaque is a table in which somebody else left what our model of the kernel cannot represent. It can only be replaced
	// as a whole.
	opaque
)

// adopt reads our tables and chooses the one that enforces. It removes any other: it is what an interrupted change of tables
// left, before it was hooked in or after it was unhooked, or what somebody else broke.
func (r *Renderer) adopt() (finding, error) {
	r.model = model.New()
	found := nothing
	var others []string
	for _, name := range tables {
		is, err := r.inspect(name)
		switch {
		case err != nil:
			return nothing, fmt.Errorf("table %s: read: %w", name, err)
		case is == nothing:
			continue
		case found == nothing, found == opaque && is == readable:
			if found == opaque {
				others = append(others, r.table)
			}
			r.table, found = name, is
		default:
			others = append(others, name)
		}
	}
	for _, name := range others {
		if err := r.dropTable(name); err != nil {
			return nothing, err
		}
	}
	return found, nil
}

// inspect reads one table into the model. A table that enforces nothing is opaque too, because nothing should build upon
// it.
func (r *Renderer) inspect(name string) (finding, error) {
	rs, there, err := r.kernel.Read(name)
	switch foreign := errors.Is(err, kernel.ErrForeignTable); {
	case err != nil && !foreign:
		return nothing, err
	case !there && !foreign:
		return nothing, nil
	case !foreign && hooked(rs) && r.model.Load(name, rs) == nil:
		return readable, nil
	}
	return opaque, r.model.Load(name, ruleset.New())
}

func (r *Renderer) dropTable(name string) error {
	if err := r.commit(deletion(name)); err != nil {
		return fmt.Errorf("table %s: delete: %w", name, err)
	}
	return nil
}

func hooked(rs *ruleset.Ruleset) bool {
	for _, c := range rs.Chains {
		if c.Hook != nil {
			return true
		}
	}
	return false
}

// replace fills a table that enforces nothing yet and lets it take over from old, which is empty if no table enforces.
func (r *Renderer) replace(old string) (render.Stats, error) {
	next := tables[0]
	if old == next {
		next = tables[1]
	}
	all := &change.Tx{Ops: []change.Op{change.AddTable{Table: next, Comment: tableComment}}}
	body, _ := change.Diff(next, ruleset.New(), unhooked(r.layout.Ruleset()), nil)
	all.Add(body.Ops...)
	stats := count(all)
	stats.Full = true
	if err := r.commitSplit(all); err != nil {
		return render.Stats{}, fmt.Errorf("table %s: fill: %w", next, err)
	}
	flip, _ := change.Diff(next, r.model.Tables[next], r.layout.Ruleset(), nil)
	flip.Add(r.unhook(old)...)
	if err := r.commit(flip); err != nil {
		return render.Stats{}, fmt.Errorf("table %s: take over: %w", next, err)
	}
	r.table, r.known = next, true
	if _, left := r.model.Tables[old]; left {
		if err := r.commit(deletion(old)); err != nil {
			return stats, fmt.Errorf("table %s: enforced, but table %s not removed: %w", next, old, err)
		}
	}
	r.noteGeneration()
	return stats, nil
}

// unhooked returns the ruleset without its base chains.
func unhooked(rs *ruleset.Ruleset) *ruleset.Ruleset {
	out := &ruleset.Ruleset{Chains: map[string]*ruleset.Chain{}, Sets: rs.Sets}
	for name, c := range rs.Chains {
		if c.Hook == nil {
			out.Chains[name] = c
		}
	}
	return out
}

// unhook returns the operations after which no packet meets a table. They remove its base chains; a later transaction
// removes the rest. A table whose content is not known is removed at once.
func (r *Renderer) unhook(table string) []change.Op {
	rs := r.model.Tables[table]
	if rs == nil {
		return nil
	}
	var ops []change.Op
	for name, c := range rs.Chains {
		if c.Hook != nil {
			ops = append(ops, change.FlushChain{Table: table, Chain: name}, change.DelChain{Table: table, Chain: name})
		}
	}
	if len(ops) == 0 {
		ops = append(ops, change.DelTable{Table: table})
	}
	return ops
}
