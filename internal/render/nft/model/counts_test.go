package model

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/netpol-agent/netpol-agent/internal/render/nft/change"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/ruleset"
	"github.com/netpol-agent/netpol-agent/test/nft/compare"
	"github.com/netpol-agent/netpol-agent/test/nft/gen"
)

// After each transaction, the counts that the Model keeps up to date are those of a fresh count.
func TestCounts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		foreign := rapid.Bool().Draw(t, "foreign")
		a, b := gen.Ruleset(t, foreign), gen.Ruleset(t, false)
		m := New()
		if err := m.Load("t", a); err != nil {
			t.Fatalf("load: %v", err)
		}
		update, prune := change.Diff("t", m.Tables["t"], b, nil)
		for _, tx := range []*change.Tx{update, prune} {
			if err := m.Apply(tx); err != nil {
				t.Fatalf("%v\n%s", err, tx)
			}
			checkCounts(t, m, "t")
		}
	})
}

// A refused transaction changes nothing.
func TestRefusalChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := gen.Ruleset(t, false), gen.Ruleset(t, false)
		m := New()
		if err := m.Load("t", a); err != nil {
			t.Fatal(err)
		}
		before := compare.Clone(m.Tables["t"])
		update, prune := change.Diff("t", m.Tables["t"], b, nil)
		ops := slices.Concat(update.Ops, prune.Ops)
		ops = ops[:rapid.IntRange(0, len(ops)).Draw(t, "length")]
		bad := rapid.SampledFrom([]change.Op{
			change.DelChain{Table: "t", Chain: "none"}, change.DelSet{Table: "none", Set: "s"}, change.AddTable{Table: "t"},
			change.AddRule{Table: "t", Chain: "none", Rule: ruleset.Rule{}}, change.FlushChain{Table: "t", Chain: "none"},
		}).Draw(t, "bad")
		ops = append(ops, bad, change.DelTable{Table: "t"})
		if err := m.Apply(&change.Tx{Ops: ops}); err == nil {
			t.Fatalf("%s was accepted", bad)
		}
		if d := compare.Difference(before, m.Tables["t"]); d != "" {
			t.Fatalf("changed:\n%s", d)
		}
		checkCounts(t, m, "t")
	})
}

// checkCounts compares the counts that the Model kept up to date with a fresh count.
func checkCounts(t *rapid.T, m *Model, name string) {
	fresh := New()
	if err := fresh.Load(name, m.Tables[name]); err != nil {
		t.Fatalf("load again: %v", err)
	}
	kept, counted := m.state[name], fresh.state[name]
	if !kept.sameRefs(counted) {
		t.Fatalf("references:\n%v\n%v\ncounted afresh:\n%v\n%v", kept.chainRefs, kept.setRefs, counted.chainRefs, counted.setRefs)
	}
	for set, order := range counted.intervals {
		if len(order) != len(kept.intervals[set]) {
			t.Fatalf("intervals of %s: %v, want %v", set, kept.intervals[set], order)
		}
		for i := range order {
			if order[i] != kept.intervals[set][i] {
				t.Fatalf("intervals of %s: %v, want %v", set, kept.intervals[set], order)
			}
		}
	}
}

func (s *table) sameRefs(o *table) bool {
	return sameCounts(s.chainRefs, o.chainRefs) && sameCounts(s.setRefs, o.setRefs)
}

func sameCounts(a, b refCount) bool {
	if len(a) != len(b) {
		return false
	}
	for to, froms := range a {
		if len(froms) != len(b[to]) {
			return false
		}
		for from, n := range froms {
			if b[to][from] != n {
				return false
			}
		}
	}
	return true
}
