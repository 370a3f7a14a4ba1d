package change_test

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/netpol-agent/netpol-agent/internal/render/nft/change"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/model"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/ruleset"
	"github.com/netpol-agent/netpol-agent/test/nft/compare"
	"github.com/netpol-agent/netpol-agent/test/nft/gen"
	"github.com/netpol-agent/netpol-agent/test/nft/trace"
)

// checkDiff applies a difference to a Model, from a to b, and checks all that Diff promises.
func checkDiff(t *rapid.T, a, b *ruleset.Ruleset, dirty *ruleset.Dirty, oldKernel bool) {
	m := model.New()
	m.Before62 = oldKernel
	if err := m.Load("t", a); err != nil {
		t.Fatalf("load: %v", err)
	}
	update, prune := change.Diff("t", m.Tables["t"], b, dirty)
	if err := m.Apply(update); err != nil {
		t.Fatalf("update: %v\n%s", err, describe(update))
	}
	for range 5 {
		p := gen.Packet(t)
		for _, h := range []ruleset.HookPoint{ruleset.Forward, ruleset.Output} {
			got, gotSteps := trace.Trace(m.Tables["t"], h, p)
			want, wantSteps := trace.Trace(b, h, p)
			if got != want {
				t.Fatalf("after update, %s of %+v: %s, want %s\n%v\n%v\n%s", h, p, got, want, gotSteps, wantSteps, describe(update))
			}
		}
	}
	if err := m.Apply(prune); err != nil {
		t.Fatalf("prune: %v\nupdate: %sprune: %s", err, describe(update), describe(prune))
	}
	if d := compare.Difference(m.Tables["t"], b); d != "" || !compare.Equal(m.Tables["t"], b) {
		t.Fatalf("not as desired:\n%supdate: %sprune: %s", d, describe(update), describe(prune))
	}
	if update, prune := change.Diff("t", m.Tables["t"], b, nil); !update.Empty() || !prune.Empty() {
		t.Fatalf("the second difference is not empty:\n%s%s", update, prune)
	}
}

func TestDiffLeadsToDesired(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := gen.Ruleset(t, false), gen.Ruleset(t, false)
		checkDiff(t, a, b, nil, true)
	})
}

func TestDiffOfDirty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := gen.Ruleset(t, false), gen.Ruleset(t, false)
		checkDiff(t, a, b, drawDirty(t, a, b), true)
	})
}

func TestDiffRepairs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := gen.Ruleset(t, true), gen.Ruleset(t, false)
		checkDiff(t, a, b, nil, false)
		checkDiff(t, a, b, drawDirty(t, a, b), false)
	})
}

func TestDiffIsStable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := gen.Ruleset(t, true), gen.Ruleset(t, false)
		update, prune := change.Diff("t", a, b, nil)
		again, pruneAgain := change.Diff("t", compare.Clone(a), compare.Clone(b), nil)
		if update.String() != again.String() || prune.String() != pruneAgain.String() {
			t.Fatalf("two differences of the same rulesets:\n%s\n%s", update, again)
		}
	})
}

// A transaction in parts leads to the same content, and no part is larger than requested.
func TestSplit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := gen.Ruleset(t, false)
		limit := rapid.IntRange(1, 12).Draw(t, "limit")
		update, _ := change.Diff("t", ruleset.New(), b, nil)
		m := model.New()
		if err := m.Apply(&change.Tx{Ops: []change.Op{change.AddTable{Table: "t"}}}); err != nil {
			t.Fatal(err)
		}
		total := 0
		for _, part := range change.Split(update, limit) {
			total += part.Cost()
			if part.Empty() || part.Cost() > max(limit, 2) {
				t.Fatalf("part of cost %d, limit %d: %s", part.Cost(), limit, part)
			}
			if err := m.Apply(part); err != nil {
				t.Fatalf("part: %v\n%s", err, part)
			}
		}
		if d := compare.Difference(m.Tables["t"], b); d != "" {
			t.Fatalf("the parts do not add up:\n%s", d)
		}
		if total < update.Cost() {
			t.Fatalf("parts cost %d, the whole %d", total, update.Cost())
		}
	})
}

// drawDirty returns the names of what differs, and a few more.
func drawDirty(t *rapid.T, a, b *ruleset.Ruleset) *ruleset.Dirty {
	rarely := func(n int, label string) bool { return rapid.IntRange(0, n-1).Draw(t, label) == n-1 }
	d := ruleset.NewDirty()
	for _, name := range compare.EitherHas(a.Chains, b.Chains) {
		x, y := a.Chains[name], b.Chains[name]
		if x == nil || y == nil || !x.Hook.Equal(y.Hook) || !x.SameRules(y) || rarely(5, "extra chain") {
			d.Chain(name)
		}
	}
	for _, name := range compare.EitherHas(a.Sets, b.Sets) {
		x, y := a.Sets[name], b.Sets[name]
		if x == nil || y == nil || !x.SameKind(y) || rarely(5, "whole set") {
			d.Set(name)
			continue
		}
		for _, e := range append(x.Sorted(), y.Sorted()...) {
			v, inX := x.Elems[e.Elem]
			w, inY := y.Elems[e.Elem]
			if inX != inY || v != w || rarely(5, "extra element") {
				d.Elem(name, e.Elem)
			}
		}
	}
	return d
}

func describe(tx *change.Tx) string { return fmt.Sprintf("%d operations:\n%s", len(tx.Ops), tx) }
