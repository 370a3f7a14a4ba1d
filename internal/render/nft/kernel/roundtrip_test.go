package kernel

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/netpol-agent/netpol-agent/internal/render/nft/change"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/ruleset"
	"github.com/netpol-agent/netpol-agent/test/nft/compare"
)

// TestReadGivesWhatWasCommitted is the property that ties writing to reading: loading a ruleset and reading it back
// returns the same value, and so does any change from it to another one.
func TestReadGivesWhatWasCommitted(t *testing.T) {
	c := newNamespace(t).open(t)
	rapid.Check(t, func(rt *rapid.T) {
		table := randomTable()
		first, second := drawRuleset(rt), drawRuleset(rt)
		mustCommit(rt, c, load(table, first))
		defer mustCommit(rt, c, &change.Tx{Ops: []change.Op{change.DelTable{Table: table}}})
		mustEqual(rt, c, table, first)
		update, prune := change.Diff(table, first, second, nil)
		mustCommit(rt, c, update)
		mustCommit(rt, c, prune)
		mustEqual(rt, c, table, second)
	})
}

func mustCommit(t *rapid.T, c *Conn, tx *change.Tx) {
	if err := c.Commit(tx); err != nil {
		t.Fatalf("%v\n%s", err, tx)
	}
}

func mustEqual(t *rapid.T, c *Conn, table string, want *ruleset.Ruleset) {
	got, found, err := c.Read(table)
	if err != nil || !found {
		t.Fatalf("read: found %t, %v", found, err)
	}
	if d := compare.Difference(want, got); d != "" {
		t.Fatalf("read differs from what was committed:\n%s", d)
	}
	if !compare.Equal(want, got) {
		t.Fatal("read differs from what was committed, and Difference does not show where")
	}
}

// TestDecodeUndoesEncode is the same for single rules without a kernel, for every order of matches, sensible or not.
func TestDecodeUndoesEncode(t *testing.T) {
	sets := []*ruleset.Set{{Name: "a4"}, {Name: "a6", Type: ruleset.Addr6}, {Name: "ap4", Type: ruleset.Addr4Port},
		{Name: "ap6", Type: ruleset.Addr6Port}, {Name: "p4", Type: ruleset.Addr4Pair},
		{Name: "p6", Type: ruleset.Addr6Pair}, {Name: "m4", Verdicts: true},
		{Name: "m6", Type: ruleset.Addr6, Verdicts: true}}
	rapid.Check(t, func(rt *rapid.T) {
		r := drawRule(rt, sets, []string{"x", "y"})
		prog, data, err := encodeRule(&r, nil)
		if err != nil {
			rt.Fatalf("encode %v: %v", r, err)
		}
		var w writer
		for k := range prog {
			w.appendExpr(&prog[k])
		}
		if w.err != nil {
			rt.Fatal(w.err)
		}
		er := exprReader{names: map[string]string{}}
		again, err := er.read(w.b, nil)
		if err != nil {
			rt.Fatalf("read program of %v: %v", r, err)
		}
		got, err := decodeRule(again, data)
		if err != nil {
			rt.Fatalf("decode %v: %v\n%+v", r, err, prog)
		}
		want := ruleset.Ruleset{Chains: map[string]*ruleset.Chain{"c": {Name: "c", Rules: []ruleset.Rule{r}}}}
		have := ruleset.Ruleset{Chains: map[string]*ruleset.Chain{"c": {Name: "c", Rules: []ruleset.Rule{got}}}}
		if !compare.Equal(&want, &have) {
			rt.Fatalf("got %v, want %v", got, r)
		}
	})
}
