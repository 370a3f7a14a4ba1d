package change_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/netpol-agent/netpol-agent/internal/render/nft/change"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/model"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/ruleset"
	"github.com/netpol-agent/netpol-agent/test/nft/compare"
	"github.com/netpol-agent/netpol-agent/test/nft/gen"
	"github.com/netpol-agent/netpol-agent/test/nft/trace"
)

// No packet is affected by what Prepare puts first, the rest completes the update, and no new element leads to a chain
// of the same transaction.
func TestPrepare(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := gen.Ruleset(t, false), gen.Ruleset(t, false)
		m := model.New()
		if err := m.Load("t", a); err != nil {
			t.Fatal(err)
		}
		update, prune := change.Diff("t", m.Tables["t"], b, nil)
		first, rest := change.Prepare(update)
		if err := m.Apply(first); err != nil {
			t.Fatalf("first: %v\n%s", err, describe(first))
		}
		for range 5 {
			p := gen.Packet(t)
			for _, h := range []ruleset.HookPoint{ruleset.Forward, ruleset.Output} {
				if got, _ := trace.Trace(m.Tables["t"], h, p); !sameVerdict(got, a, h, p) {
					t.Fatalf("%s of %+v is affected by:\n%s", h, p, describe(first))
				}
			}
		}
		if !first.Empty() {
			noneLeadsToNew(t, rest)
		}
		for _, tx := range []*change.Tx{rest, prune} {
			if err := m.Apply(tx); err != nil {
				t.Fatalf("%v\nfirst: %srest: %s", err, describe(first), describe(tx))
			}
		}
		if d := compare.Difference(m.Tables["t"], b); d != "" {
			t.Fatalf("not as desired:\n%s", d)
		}
	})
}

func sameVerdict(got ruleset.Verdict, want *ruleset.Ruleset, h ruleset.HookPoint, p trace.Packet) bool {
	v, _ := trace.Trace(want, h, p)
	return got == v
}

func noneLeadsToNew(t *rapid.T, tx *change.Tx) {
	made := map[string]bool{}
	for _, op := range tx.Ops {
		switch op := op.(type) {
		case change.AddChain:
			made[op.Chain.Name] = true
		case change.AddElems:
			for _, e := range op.Elems {
				if made[e.Verdict.Chain] {
					t.Fatalf("%s leads to a chain of the same transaction:\n%s", op, describe(tx))
				}
			}
		}
	}
}

// A pod that gets a chain of its own is led to it only once the chain exists, and a set is full before a rule looks it
// up. An update that needs neither stays one transaction.
func TestPrepareOfNewChain(t *testing.T) {
	set := &ruleset.Set{Name: "m", Verdicts: true}
	elems := func(chain string) change.AddElems {
		return change.AddElems{Table: "t", Set: set, Elems: []ruleset.ElemVerdict{{Verdict: ruleset.Verdict{Kind: ruleset.Goto, Chain: chain}}}}
	}
	rule := change.AddRule{Table: "t", Chain: "new", Rule: ruleset.Rule{Verdict: ruleset.Verdict{Kind: ruleset.Drop}}}
	add := change.AddChain{Table: "t", Chain: &ruleset.Chain{Name: "new"}}
	first, rest := change.Prepare(&change.Tx{Ops: []change.Op{add, rule, elems("new")}})
	if want := (&change.Tx{Ops: []change.Op{add, rule}}); first.String() != want.String() {
		t.Errorf("first: %s", first)
	}
	if want := (&change.Tx{Ops: []change.Op{elems("new")}}); rest.String() != want.String() {
		t.Errorf("rest: %s", rest)
	}
	filled := []change.Op{change.AddSet{Table: "t", Set: set}, elems("old")}
	use := change.AddRule{Table: "t", Chain: "there", Rule: ruleset.Rule{Verdict: ruleset.Verdict{Kind: ruleset.Accept}}}
	first, rest = change.Prepare(&change.Tx{Ops: append(filled, use)})
	if want := (&change.Tx{Ops: filled}); first.String() != want.String() || len(rest.Ops) != 1 {
		t.Errorf("a set that is new: first: %srest: %s", first, rest)
	}
	whole := &change.Tx{Ops: []change.Op{add, rule, elems("old")}}
	if first, rest := change.Prepare(whole); !first.Empty() || rest.String() != whole.String() {
		t.Errorf("split unnecessarily: %s%s", first, rest)
	}
}
