package ruleset

import (
	"testing"

	"pgregory.net/rapid"
)

// What Prepare puts first is noticed by no packet, the rest completes the change, and no new element leads to a chain
// that is made with it.
func TestPrepare(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := genRuleset(t, false), genRuleset(t, false)
		m := NewModel()
		if err := m.Load("t", a); err != nil {
			t.Fatal(err)
		}
		change, sweep := Diff("t", m.Tables["t"], b, nil)
		first, rest := Prepare(change)
		if err := m.Apply(first); err != nil {
			t.Fatalf("first: %v\n%s", err, describe(first))
		}
		for range 5 {
			p := genPacket(t)
			for _, h := range []HookPoint{Forward, Output} {
				if got, _ := m.Tables["t"].Trace(h, p); !sameVerdict(got, a, h, p) {
					t.Fatalf("%s of %+v notices:\n%s", h, p, describe(first))
				}
			}
		}
		if !first.Empty() {
			noneLeadsToNew(t, rest)
		}
		for _, tx := range []*Tx{rest, sweep} {
			if err := m.Apply(tx); err != nil {
				t.Fatalf("%v\nfirst: %srest: %s", err, describe(first), describe(tx))
			}
		}
		if d := m.Tables["t"].Difference(b); d != "" {
			t.Fatalf("not as desired:\n%s", d)
		}
	})
}

func sameVerdict(got Verdict, want *Ruleset, h HookPoint, p Packet) bool {
	v, _ := want.Trace(h, p)
	return got == v
}

func noneLeadsToNew(t *rapid.T, tx *Tx) {
	made := map[string]bool{}
	for _, op := range tx.Ops {
		switch op := op.(type) {
		case AddChain:
			made[op.Chain.Name] = true
		case AddElems:
			for _, e := range op.Elems {
				if made[e.Verdict.Chain] {
					t.Fatalf("%s leads to a chain of the same transaction:\n%s", OpText(op), describe(tx))
				}
			}
		}
	}
}

// A pod that gets a chain of its own is led to it only once the chain is there, and a set is full before a rule looks
// into it; a change that needs neither stays one transaction.
func TestPrepareOfNewTarget(t *testing.T) {
	set := &Set{Name: "m", Verdicts: true}
	elems := func(chain string) AddElems {
		return AddElems{"t", set, []ElemVerdict{{Verdict: Verdict{Kind: Goto, Chain: chain}}}}
	}
	rule := AddRule{"t", "new", Rule{Verdict: Verdict{Kind: Drop}}}
	add := AddChain{"t", &Chain{Name: "new"}}
	first, rest := Prepare(&Tx{Ops: []Op{add, rule, elems("new")}})
	if want := (&Tx{Ops: []Op{add, rule}}); first.String() != want.String() {
		t.Errorf("first: %s", first)
	}
	if want := (&Tx{Ops: []Op{elems("new")}}); rest.String() != want.String() {
		t.Errorf("rest: %s", rest)
	}
	filled := []Op{AddSet{"t", set}, elems("old")}
	use := AddRule{"t", "there", Rule{Verdict: Verdict{Kind: Accept}}}
	first, rest = Prepare(&Tx{Ops: append(filled, use)})
	if want := (&Tx{Ops: filled}); first.String() != want.String() || len(rest.Ops) != 1 {
		t.Errorf("a set that is new: first: %srest: %s", first, rest)
	}
	whole := &Tx{Ops: []Op{add, rule, elems("old")}}
	if first, rest := Prepare(whole); !first.Empty() || rest.String() != whole.String() {
		t.Errorf("split without need: %s%s", first, rest)
	}
}
