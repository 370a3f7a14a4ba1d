package ruleset

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// checkDiff leads a Model from a to b by a difference, and checks all that Diff promises.
func checkDiff(t *rapid.T, a, b *Ruleset, dirty *Dirty, oldKernel bool) {
	m := NewModel()
	m.HoldMapTargets = oldKernel
	if err := m.Load("t", a); err != nil {
		t.Fatalf("load: %v", err)
	}
	change, sweep := Diff("t", m.Tables["t"], b, dirty)
	if err := m.Apply(change); err != nil {
		t.Fatalf("change: %v\n%s", err, describe(change))
	}
	for range 5 {
		p := genPacket(t)
		for _, h := range []HookPoint{Forward, Output} {
			got, gotSteps := m.Tables["t"].Trace(h, p)
			want, wantSteps := b.Trace(h, p)
			if got != want {
				t.Fatalf("after change, %s of %+v: %s, not %s\n%v\n%v\n%s", h, p, got, want, gotSteps, wantSteps, describe(change))
			}
		}
	}
	if err := m.Apply(sweep); err != nil {
		t.Fatalf("sweep: %v\nchange: %ssweep: %s", err, describe(change), describe(sweep))
	}
	if d := m.Tables["t"].Difference(b); d != "" || !m.Tables["t"].Equal(b) {
		t.Fatalf("not as desired:\n%schange: %ssweep: %s", d, describe(change), describe(sweep))
	}
	checkCounts(t, m, "t")
	if change, sweep := Diff("t", m.Tables["t"], b, nil); !change.Empty() || !sweep.Empty() {
		t.Fatalf("something is left to do:\n%s%s", change, sweep)
	}
}

// checkCounts holds what the Model kept up to date against what it would count afresh.
func checkCounts(t *rapid.T, m *Model, table string) {
	fresh := NewModel()
	if err := fresh.Load(table, m.Tables[table]); err != nil {
		t.Fatalf("load again: %v", err)
	}
	kept, counted := m.state[table], fresh.state[table]
	if !kept.sameRefs(counted) {
		t.Fatalf("references:\n%v\n%v\ncounted afresh:\n%v\n%v", kept.chainRefs, kept.setRefs, counted.chainRefs, counted.setRefs)
	}
	for set, order := range counted.intervals {
		if len(order) != len(kept.intervals[set]) {
			t.Fatalf("intervals of %s: %v, not %v", set, kept.intervals[set], order)
		}
		for i := range order {
			if order[i] != kept.intervals[set][i] {
				t.Fatalf("intervals of %s: %v, not %v", set, kept.intervals[set], order)
			}
		}
	}
}

func (s *tableState) sameRefs(o *tableState) bool {
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

func TestDiffLeadsToDesired(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := genRuleset(t, false), genRuleset(t, false)
		checkDiff(t, a, b, nil, true)
	})
}

func TestDiffOfDirty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := genRuleset(t, false), genRuleset(t, false)
		checkDiff(t, a, b, dirtyOf(&rulesetGen{t: t}, a, b), true)
	})
}

func TestDiffRepairs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := genRuleset(t, true), genRuleset(t, false)
		checkDiff(t, a, b, nil, false)
		checkDiff(t, a, b, dirtyOf(&rulesetGen{t: t}, a, b), false)
	})
}

func TestDiffIsStable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := genRuleset(t, true), genRuleset(t, false)
		change, sweep := Diff("t", a, b, nil)
		again, sweepAgain := Diff("t", a.Clone(), b.Clone(), nil)
		if change.String() != again.String() || sweep.String() != sweepAgain.String() {
			t.Fatalf("two differences of the same:\n%s\n%s", change, again)
		}
	})
}

// In parts, a transaction leads to the same content, and no part is larger than asked.
func TestSplit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := genRuleset(t, false)
		limit := rapid.IntRange(1, 12).Draw(t, "limit")
		change, _ := Diff("t", New(), b, nil)
		m := NewModel()
		if err := m.Apply(&Tx{Ops: []Op{AddTable{Table: "t"}}}); err != nil {
			t.Fatal(err)
		}
		total := 0
		for _, part := range Split(change, limit) {
			total += part.Cost()
			if part.Empty() || part.Cost() > max(limit, 2) {
				t.Fatalf("part of cost %d, limit %d: %s", part.Cost(), limit, part)
			}
			if err := m.Apply(part); err != nil {
				t.Fatalf("part: %v\n%s", err, part)
			}
		}
		if d := m.Tables["t"].Difference(b); d != "" {
			t.Fatalf("not the whole:\n%s", d)
		}
		if total < change.Cost() {
			t.Fatalf("parts cost %d, the whole %d", total, change.Cost())
		}
	})
}

// A refused transaction changes nothing.
func TestRefusalChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := genRuleset(t, false), genRuleset(t, false)
		m := NewModel()
		if err := m.Load("t", a); err != nil {
			t.Fatal(err)
		}
		before := m.Tables["t"].Clone()
		change, sweep := Diff("t", m.Tables["t"], b, nil)
		ops := slices.Concat(change.Ops, sweep.Ops)
		ops = ops[:rapid.IntRange(0, len(ops)).Draw(t, "length")]
		bad := pick(&rulesetGen{t: t}, []Op{
			DelChain{"t", "none"}, DelSet{"none", "s"}, AddTable{Table: "t"},
			AddRule{"t", "none", Rule{}}, FlushChain{"t", "none"},
		}, "bad")
		ops = append(ops, bad, DelTable{"t"})
		if err := m.Apply(&Tx{Ops: ops}); err == nil {
			t.Fatalf("%s was accepted", OpText(bad))
		}
		if d := before.Difference(m.Tables["t"]); d != "" {
			t.Fatalf("changed:\n%s", d)
		}
		checkCounts(t, m, "t")
	})
}
