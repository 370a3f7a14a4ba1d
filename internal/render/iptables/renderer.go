// Package iptables enforces rule programs through the filter table and ipsets, for nodes whose kernel or
// administrators want iptables.
//
// It decides when the kernel is read and in which order sets and chains change. It does not decide what the
// rules are (package layout), what leads from one ruleset to another (package ruleset), which binary runs
// (package kernel) or when to try again (its caller).
//
// A change of chains is one iptables-restore for each family, which the kernel takes as a whole. Sets cannot be
// part of it: new ones come before, old ones go after, and the members of existing ones change so that no
// packet meets rules that are more open than both the old and the new ones; see ruleset.Plan. A process that is
// killed between any two of these steps leaves rules that enforce, and the next start, which reads back what is
// there, ends in the right state with nothing left over.
package iptables

import (
	"errors"
	"fmt"
	"strings"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/render"
	"github.com/netpol-agent/netpol-agent/internal/render/iptables/kernel"
	"github.com/netpol-agent/netpol-agent/internal/render/iptables/layout"
	"github.com/netpol-agent/netpol-agent/internal/render/iptables/ruleset"
)

// Kernel is what the renderer needs of the filter table and of ipset; kernel.Tools is one, ruleset.Model
// another.
type Kernel interface {
	// Save gives the filter table of a family in the language of iptables-save.
	Save(f ruleset.Family) (string, error)
	// Restore commits a script for iptables-restore --noflush, all of it or nothing.
	Restore(f ruleset.Family, script string) error
	// SaveSets gives all sets in the language of ipset save.
	SaveSets() (string, error)
	// RestoreSets runs a script for ipset restore -exist, line by line up to the first that is refused.
	RestoreSets(script string) error
	// Head gives the rules of a built-in chain, in order.
	Head(f ruleset.Family, chain string) ([]string, error)
}

// DefaultFullCheck is how many cheap checks for drift pass before everything is compared.
const DefaultFullCheck = 30

// Options of a Renderer. The zero value has the defaults.
type Options struct {
	// Variant is shown to operators: "legacy" or "nft".
	Variant string
	// FullCheck makes every so manyth call of Drifted compare everything; 1 does so each time.
	FullCheck int
}

// Renderer keeps the kernel equal to a program. It is not safe for concurrent use.
type Renderer struct {
	kernel  Kernel
	opts    Options
	layout  *layout.Layout
	pending map[ruleset.Family]*ruleset.Dirty
	// states holds what the kernel has, as far as known says so.
	states map[ruleset.Family]*ruleset.State
	known  bool
	// stuck says that sets are left that cannot be removed yet; the next Sync tries again.
	stuck bool
	// checks counts calls of Drifted.
	checks int
}

// New gives a renderer that has written nothing.
func New(k Kernel, opts Options) *Renderer {
	if opts.FullCheck == 0 {
		opts.FullCheck = DefaultFullCheck
	}
	return &Renderer{kernel: k, opts: opts, layout: layout.New()}
}

// Render gives a program's ruleset from scratch, without a kernel.
func Render(p *program.Program) *ruleset.Ruleset { return layout.Render(p) }

// Text gives the canonical text of the ruleset as it should be.
func (r *Renderer) Text() string { return r.layout.Ruleset().Text() }

// Table says where an operator finds the rules.
func (r *Renderer) Table() string {
	return strings.TrimSuffix("filter chains "+ruleset.Prefix+"* of iptables-"+r.opts.Variant, "-")
}

// Sync reads what the kernel has and makes it equal to the program, whatever it was: nothing, what a former run
// left, or what a foreign hand made of it. The rules are laid out from scratch, so a mistake in an earlier step
// does not outlive it.
func (r *Renderer) Sync(p *program.Program) (render.Stats, error) {
	r.known = false
	r.layout = layout.New()
	r.layout.Update(p, p.Everything())
	r.forgetPending()
	states, err := r.read()
	if states == nil {
		return render.Stats{}, err
	}
	r.states = states
	stats, commitErr := r.commit(nil)
	r.known = err == nil && commitErr == nil
	return stats, errors.Join(err, commitErr)
}

// Apply brings into the kernel what the delta names, and what earlier calls failed to bring. After an error the
// kernel has rules that are at most as open as the old or the new ones, and the next call makes up for it, after
// reading back what the kernel has.
func (r *Renderer) Apply(p *program.Program, d *program.Delta) (render.Stats, error) {
	if !r.known {
		return r.Sync(p)
	}
	r.layout.Update(p, d)
	for f, dirty := range r.pending {
		dirty.Merge(r.layout.TakeDirty(f))
	}
	stats, err := r.commit(r.pending)
	r.known = err == nil
	r.forgetPending()
	return stats, err
}

func (r *Renderer) forgetPending() {
	r.pending = map[ruleset.Family]*ruleset.Dirty{}
	for _, f := range ruleset.Families() {
		r.layout.TakeDirty(f)
		r.pending[f] = ruleset.NewDirty()
	}
}

// read gives what the kernel has. A family whose rules cannot be read is left out, with an error if this node's
// pods need it; without the sets nothing can be done.
func (r *Renderer) read() (map[ruleset.Family]*ruleset.State, error) {
	sets, err := r.kernel.SaveSets()
	if err != nil {
		return nil, fmt.Errorf("read the sets: %w", err)
	}
	states := map[ruleset.Family]*ruleset.State{}
	var errs []error
	for _, f := range ruleset.Families() {
		chains, err := r.kernel.Save(f)
		if errors.Is(err, kernel.ErrNoFamily) {
			continue // there is no packet to judge
		}
		if err != nil {
			if len(r.layout.Ruleset().Table(f).Chains) > 0 {
				errs = append(errs, fmt.Errorf("%s: read the filter table: %w", f, err))
			}
			continue
		}
		s := ruleset.NewState()
		if err := errors.Join(s.ReadChains(chains), s.ReadSets(f, sets)); err != nil {
			errs = append(errs, fmt.Errorf("%s: read the filter table: %w", f, err))
			continue
		}
		states[f] = s
	}
	return states, errors.Join(errs...)
}

// commit makes the kernel equal to the layout in what dirty names, or in everything if it is nil. A family that
// fails does not keep the other one from being enforced.
func (r *Renderer) commit(dirty map[ruleset.Family]*ruleset.Dirty) (render.Stats, error) {
	var stats render.Stats
	var before, after, gone strings.Builder
	plans := map[ruleset.Family]*ruleset.Plan{}
	for f, state := range r.states {
		plan := ruleset.Diff(r.layout.Ruleset().Table(f), state, dirty[f])
		plans[f] = plan
		before.WriteString(plan.Before)
		stats.Ops += plan.Ops
		stats.Elements += plan.Members
		stats.Full = stats.Full || len(state.Chains) == 0 && plan.Restore != ""
	}
	if err := r.sets(before.String()); err != nil {
		return render.Stats{}, fmt.Errorf("sets before the chains: %w", err)
	}
	var errs []error
	for _, f := range ruleset.Families() {
		if plans[f] == nil {
			continue
		}
		if err := r.restore(f, plans[f].Restore); err != nil {
			errs = append(errs, err)
			continue
		}
		after.WriteString(plans[f].After)
		gone.WriteString(plans[f].Destroy)
	}
	if err := r.sets(after.String()); err != nil {
		errs = append(errs, fmt.Errorf("sets after the chains: %w", err))
	}
	if len(errs) > 0 {
		return render.Stats{}, errors.Join(errs...)
	}
	var ended int
	ended, stats.Left = destroy(r.kernel, gone.String())
	r.stuck = stats.Left != nil || dirty != nil && r.stuck
	stats.Ops += ended
	for f, state := range r.states {
		state.Take(r.layout.Ruleset().Table(f), dirty[f])
	}
	return stats, nil
}

func (r *Renderer) restore(f ruleset.Family, script string) error {
	if script == "" {
		return nil
	}
	if err := r.kernel.Restore(f, script); err != nil {
		return fmt.Errorf("%s: chains: %w", f, err)
	}
	return nil
}

func (r *Renderer) sets(script string) error {
	if script == "" {
		return nil
	}
	return r.kernel.RestoreSets(script)
}

// destroy ends sets that no rule of ours names; it gives how many. One that a stranger's rule holds does not keep
// the others.
func destroy(k Kernel, script string) (int, error) {
	lines := strings.SplitAfter(script, "\n")
	lines = lines[:len(lines)-1]
	if len(lines) == 0 || k.RestoreSets(script) == nil {
		return len(lines), nil
	}
	there, err := k.SaveSets()
	if err != nil {
		return 0, fmt.Errorf("sets that are not used any more: %w", err)
	}
	ended := 0
	var errs []error
	for _, line := range lines {
		// The script stopped at the first line that was refused; what stood before it is gone already.
		name := strings.TrimSpace(strings.TrimPrefix(line, "destroy "))
		if !strings.Contains("\n"+there, "\ncreate "+name+" ") {
			ended++
			continue
		}
		if err := k.RestoreSets(line); err != nil {
			errs = append(errs, fmt.Errorf("set %s, which is not used any more: %w", name, err))
			continue
		}
		ended++
	}
	return ended, errors.Join(errs...)
}

// Drifted says whether our jumps are not the first rules of FORWARD and OUTPUT any more, be it that somebody
// inserted a rule before them or flushed the table. Now and then it compares everything.
func (r *Renderer) Drifted() (bool, error) {
	if !r.known {
		return true, nil
	}
	if r.checks++; r.checks%r.opts.FullCheck == 0 {
		return r.differs()
	}
	for f := range r.states {
		table := r.layout.Ruleset().Table(f)
		for chain, rule := range table.Jumps() {
			rules, err := r.kernel.Head(f, chain)
			if err != nil {
				return false, err
			}
			if !ruleset.StandsFirst(rule, rules) {
				return true, nil
			}
		}
	}
	return false, nil
}

// differs compares all that is installed with all that should be.
func (r *Renderer) differs() (bool, error) {
	states, err := r.read()
	if err != nil {
		return false, err
	}
	for f, state := range states {
		plan := ruleset.Diff(r.layout.Ruleset().Table(f), state, nil)
		if !plan.Enforced() || plan.Destroy != "" && !r.stuck {
			return true, nil
		}
	}
	return false, nil
}

// Counts says how many objects are desired, by family: "ipv4" and "ipv6".
func (r *Renderer) Counts() map[string]render.Counts { return Count(r.layout.Ruleset()) }

// Count counts a ruleset's objects, as Renderer.Counts does.
func Count(rs *ruleset.Ruleset) map[string]render.Counts {
	out := map[string]render.Counts{}
	for _, f := range ruleset.Families() {
		t := rs.Table(f)
		c := render.Counts{Chains: len(t.Chains), Sets: len(t.Sets)}
		for _, chain := range t.Chains {
			c.Rules += len(chain.Rules)
		}
		for _, s := range t.Sets {
			c.Elements += len(s.Members)
		}
		out[f.String()] = c
	}
	return out
}
