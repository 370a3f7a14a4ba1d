// Package iptables enforces rule programs through the filter table and ipsets, for nodes whose kernel or administrators
// require iptables.
//
// It decides when the kernel is read and in which order sets and chains change. It does not decide what the rules are
// (package layout), what leads from one ruleset to another (package ruleset), which binary runs (package kernel) or when
// to try again (its caller).
//
// A change of chains is one iptables-restore for each family, which the kernel commits as a whole. Sets cannot be part of
// it: new ones are created before, old ones are destroyed after, and the members of existing ones change in such an order
// that no packet meets rules that are more open than both the old and the new ones; see ruleset.Plan. If the process is
// killed between two steps, the rules that are there still enforce. The next start reads them back and ends in the right
// state with nothing left over.
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

// Kernel is what the renderer needs of one variant of the iptables binary, and of ipset, which all variants share.
// kernel.Tools implements it.
type Kernel interface {
	Variant() kernel.Variant
	// Save returns the filter table of a family as iptables-save prints it.
	Save(f ruleset.Family) (string, error)
	// Restore commits a script for iptables-restore --noflush, all of it or nothing.
	Restore(f ruleset.Family, script string) error
	// SaveSets returns all sets as ipset save prints them.
	SaveSets() (string, error)
	// RestoreSets runs a script for ipset restore -exist, line by line up to the first that is refused.
	RestoreSets(script string) error
	// Head returns the rules of a built-in chain, in order.
	Head(f ruleset.Family, chain string) ([]string, error)
}

// defaultFullCheck is used if Options.FullCheck is 0.
const defaultFullCheck = 30

// Options configures a Renderer. The zero value has the defaults.
type Options struct {
	// FullCheck is how often Drifted compares everything: every FullCheck-th call; 0 means every 30th.
	FullCheck int
}

// Renderer keeps the kernel equal to a program. It is not safe for concurrent use.
type Renderer struct {
	kernel Kernel
	opts   Options
	layout *layout.Layout
	// states holds what the kernel has. It is valid if known is true.
	states map[ruleset.Family]*ruleset.State
	known  bool
	// stuck reports whether sets are left that cannot be destroyed yet. The next Sync tries again.
	stuck bool
	// checks counts calls of Drifted.
	checks int
}

// New returns a renderer that has written nothing.
func New(k Kernel, opts Options) *Renderer {
	if opts.FullCheck == 0 {
		opts.FullCheck = defaultFullCheck
	}
	return &Renderer{kernel: k, opts: opts, layout: layout.New()}
}

// Render returns a program's ruleset, without a kernel.
func Render(p *program.Program) *ruleset.Ruleset { return layout.Render(p) }

// Text returns the canonical text of the desired ruleset.
func (r *Renderer) Text() string { return r.layout.Ruleset().Text() }

// Table returns where an operator finds the rules.
func (r *Renderer) Table() string {
	return "filter chains " + ruleset.Prefix + "* of " + r.kernel.Variant().Name()
}

// Sync reads what the kernel has and makes it equal to the program, whatever it was: nothing, what an earlier run left, or
// what somebody else turned it into. It lays the rules out from scratch, so that a mistake in an earlier step does not
// persist.
func (r *Renderer) Sync(p *program.Program) (render.Stats, error) {
	r.known = false
	r.layout = layout.New()
	r.layout.Update(p, p.Everything())
	r.takeDirty() // commit compares everything
	states, err := r.read()
	if states == nil {
		return render.Stats{}, err
	}
	r.states = states
	stats, commitErr := r.commit(nil)
	r.known = err == nil && commitErr == nil
	return stats, errors.Join(err, commitErr)
}

// Apply writes what the delta names. After an error the kernel has rules that are at most as open as the old or the new
// ones. The next call then reads back what the kernel has and makes up for it.
func (r *Renderer) Apply(p *program.Program, d *program.Delta) (render.Stats, error) {
	if !r.known {
		return r.Sync(p)
	}
	r.layout.Update(p, d)
	stats, err := r.commit(r.takeDirty())
	r.known = err == nil
	return stats, err
}

// takeDirty returns what the layout has changed since the last call.
func (r *Renderer) takeDirty() map[ruleset.Family]*ruleset.Dirty {
	dirty := map[ruleset.Family]*ruleset.Dirty{}
	for _, f := range program.Families() {
		dirty[f] = r.layout.TakeDirty(f)
	}
	return dirty
}

// read returns what the kernel has. It omits a family whose rules cannot be read, with an error if this node's pods need
// it. If the sets cannot be read, it returns nil.
func (r *Renderer) read() (map[ruleset.Family]*ruleset.State, error) {
	sets, err := r.kernel.SaveSets()
	if err != nil {
		return nil, fmt.Errorf("read the sets: %w", err)
	}
	states := map[ruleset.Family]*ruleset.State{}
	var errs []error
	for _, f := range program.Families() {
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

// commit makes the kernel equal to the layout in what dirty names, or in everything if it is nil. If one family fails, the
// other one is enforced nevertheless.
func (r *Renderer) commit(dirty map[ruleset.Family]*ruleset.Dirty) (render.Stats, error) {
	var stats render.Stats
	var before, after, unused strings.Builder
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
	for _, f := range program.Families() {
		if plans[f] == nil {
			continue
		}
		if err := r.restore(f, plans[f].Restore); err != nil {
			errs = append(errs, err)
			continue
		}
		after.WriteString(plans[f].After)
		unused.WriteString(plans[f].Destroy)
	}
	if err := r.sets(after.String()); err != nil {
		errs = append(errs, fmt.Errorf("sets after the chains: %w", err))
	}
	if len(errs) > 0 {
		return render.Stats{}, errors.Join(errs...)
	}
	gone, left := destroy(r.kernel, unused.String())
	stats.Ops, stats.Left = stats.Ops+gone, left
	r.stuck = left != nil || dirty != nil && r.stuck
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

// destroy runs a script that destroys sets that no rule of ours names. It returns how many of them are gone. A set that
// somebody else's rule names stays, without keeping the others.
func destroy(k Kernel, script string) (int, error) {
	lines := strings.SplitAfter(script, "\n")
	lines = lines[:len(lines)-1]
	if len(lines) == 0 || k.RestoreSets(script) == nil {
		return len(lines), nil
	}
	there, err := k.SaveSets()
	if err != nil {
		return 0, fmt.Errorf("unused sets: %w", err)
	}
	gone := 0
	var errs []error
	for _, line := range lines {
		// The script stopped at the first line that was refused. What stood before it is gone already.
		name := strings.TrimSpace(strings.TrimPrefix(line, "destroy "))
		if !strings.Contains("\n"+there, "\ncreate "+name+" ") {
			gone++
			continue
		}
		if err := k.RestoreSets(line); err != nil {
			errs = append(errs, fmt.Errorf("unused set %s: %w", name, err))
			continue
		}
		gone++
	}
	return gone, errors.Join(errs...)
}

// Drifted reports whether our jumps are no longer the first rules of FORWARD and OUTPUT, because somebody inserted a rule
// before them or flushed the table. Every Options.FullCheck-th call compares everything.
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

// PreciseDrift returns true: Drifted looks at no rules of others but those before our jumps.
func (r *Renderer) PreciseDrift() bool { return true }

// differs reports whether anything that is installed differs from what is desired, sets that cannot be destroyed yet aside.
func (r *Renderer) differs() (bool, error) {
	states, err := r.read()
	if err != nil {
		return false, err
	}
	for f, state := range states {
		plan := ruleset.Diff(r.layout.Ruleset().Table(f), state, nil)
		if !plan.Enforced() || !plan.Empty() && !r.stuck {
			return true, nil
		}
	}
	return false, nil
}

// Counts returns how many objects are desired, by family: "ipv4" and "ipv6".
func (r *Renderer) Counts() map[string]render.Counts {
	out := map[string]render.Counts{}
	for _, f := range program.Families() {
		t := r.layout.Ruleset().Table(f)
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
