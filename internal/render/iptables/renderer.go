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
	// Other is the other variant of the binary, if the node has it: rules of ours that an earlier choice left there
	// go as soon as those of this one are in place.
	Other Kernel
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
	r.layout.Update(p, layout.Everything(p))
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
	var before, after string
	plans := map[ruleset.Family]*ruleset.Plan{}
	for f, state := range r.states {
		plan := ruleset.Diff(r.layout.Ruleset().Table(f), state, dirty[f])
		plans[f] = plan
		before, after = before+plan.Before, after+plan.After
		stats.Ops += plan.Ops
		stats.Elements += plan.Members
		stats.Full = stats.Full || len(state.Chains) == 0 && plan.Restore != ""
	}
	if err := r.sets(before); err != nil {
		return render.Stats{}, fmt.Errorf("sets before the chains: %w", err)
	}
	var errs []error
	for _, f := range ruleset.Families() {
		if plans[f] == nil || plans[f].Restore == "" {
			continue
		}
		if err := r.kernel.Restore(f, plans[f].Restore); err != nil {
			errs = append(errs, fmt.Errorf("%s: chains: %w", f, err))
		}
	}
	if len(errs) > 0 {
		return render.Stats{}, errors.Join(errs...)
	}
	if dirty == nil && r.opts.Other != nil {
		if err := removeChains(r.opts.Other); err != nil {
			return stats, fmt.Errorf("the other variant's chains: %w", err)
		}
	}
	if err := r.sets(after); err != nil {
		return stats, fmt.Errorf("sets after the chains: %w", err)
	}
	for f, state := range r.states {
		state.Take(r.layout.Ruleset().Table(f), dirty[f])
	}
	return stats, nil
}

func (r *Renderer) sets(script string) error {
	if script == "" {
		return nil
	}
	return r.kernel.RestoreSets(script)
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
		if !ruleset.Diff(r.layout.Ruleset().Table(f), state, nil).Empty() {
			return true, nil
		}
	}
	return false, nil
}

// removeChains removes our jumps and chains, and leaves the sets, which both variants have in common. A family
// that cannot be read has nothing of ours: the kernel or the node does not have it in this variant.
func removeChains(k Kernel) error {
	var errs []error
	for _, f := range ruleset.Families() {
		chains, err := k.Save(f)
		if err != nil {
			continue
		}
		s := ruleset.NewState()
		if err := s.ReadChains(chains); err != nil {
			errs = append(errs, err)
			continue
		}
		if plan := ruleset.Diff(ruleset.NewTable(f), s, nil); plan.Restore != "" {
			errs = append(errs, k.Restore(f, plan.Restore))
		}
	}
	return errors.Join(errs...)
}

// Cleanup removes our jumps, chains and sets, and nothing else. It gives what was there.
func (r *Renderer) Cleanup() ([]string, error) {
	r.known = false
	return Cleanup(r.kernel, r.opts.Other, false)
}

// Cleanup removes our jumps, chains and sets, and nothing else, from both variants of the binary; other is nil if
// there is but one. With dryRun it only says which there are in the first.
func Cleanup(k, other Kernel, dryRun bool) ([]string, error) {
	r := New(k, Options{Other: other})
	states, err := r.read()
	var gone []string
	for _, f := range ruleset.Families() {
		if s := states[f]; s != nil && !s.Empty() {
			gone = append(gone, fmt.Sprintf("%s: %d chains, %d sets", f, len(s.Chains), len(s.Sets)))
		}
	}
	if states == nil || dryRun {
		return gone, err
	}
	r.states = states
	_, commitErr := r.commit(nil)
	return gone, errors.Join(err, commitErr)
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
