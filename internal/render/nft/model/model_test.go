package model

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"github.com/netpol-agent/netpol-agent/internal/render/nft/change"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/ruleset"
	"github.com/netpol-agent/netpol-agent/test/nft/compare"
	"github.com/netpol-agent/netpol-agent/test/nft/gen"
	"github.com/netpol-agent/netpol-agent/test/nft/tool"
)

func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }
func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// stage returns a small consistent table on which to try transactions.
func stage() *change.Tx {
	set := func(s ruleset.Set) *ruleset.Set { return &s }
	m4 := set(ruleset.Set{Name: "m4", Type: ruleset.Addr4, Verdicts: true})
	i4 := set(ruleset.Set{Name: "i4", Type: ruleset.Addr4, Interval: true})
	a4 := set(ruleset.Set{Name: "a4", Type: ruleset.Addr4})
	return &change.Tx{Ops: []change.Op{
		change.AddTable{Table: "t"},
		change.AddSet{Table: "t", Set: m4}, change.AddSet{Table: "t", Set: i4}, change.AddSet{Table: "t", Set: a4},
		change.AddChain{Table: "t", Chain: &ruleset.Chain{Name: "base", Hook: &ruleset.Hook{Point: ruleset.Forward, Priority: 5}}},
		change.AddChain{Table: "t", Chain: &ruleset.Chain{Name: "ruled"}}, change.AddChain{Table: "t", Chain: &ruleset.Chain{Name: "mapped"}}, change.AddChain{Table: "t", Chain: &ruleset.Chain{Name: "free"}},
		change.AddElems{Table: "t", Set: m4, Elems: []ruleset.ElemVerdict{{Elem: ruleset.Elem{A: addr("10.0.0.1")}, Verdict: ruleset.Verdict{Kind: ruleset.Jump, Chain: "mapped"}}}},
		change.AddElems{Table: "t", Set: i4, Elems: []ruleset.ElemVerdict{interval("10.0.0.10", "10.0.0.19"), interval("10.0.0.30", "10.0.0.39")}},
		change.AddElems{Table: "t", Set: a4, Elems: []ruleset.ElemVerdict{{Elem: ruleset.Elem{A: addr("10.0.0.1")}}}},
		change.AddRule{Table: "t", Chain: "base", Rule: ruleset.Rule{Matches: []ruleset.Match{ruleset.AddrVerdict{End: ruleset.Dst, Family: ruleset.V4, Map: "m4"}}}},
		change.AddRule{Table: "t", Chain: "base", Rule: ruleset.Rule{Matches: []ruleset.Match{ruleset.InSet{End: ruleset.Src, Family: ruleset.V4, Set: "i4"}}, Verdict: ruleset.Verdict{Kind: ruleset.Goto, Chain: "ruled"}}},
	}}
}

func interval(a, b string) ruleset.ElemVerdict {
	return ruleset.ElemVerdict{Elem: ruleset.Elem{A: addr(a), B: addr(b)}}
}

func jumpRule(from, to string) change.Op {
	return change.AddRule{Table: "t", Chain: from, Rule: ruleset.Rule{Verdict: ruleset.Verdict{Kind: ruleset.Jump, Chain: to}}}
}

type trial struct {
	name  string
	ops   []change.Op
	errno syscall.Errno // accepted is 0; mistake is -1
}

const mistake = syscall.Errno(0xffff)

func trials() []trial {
	var (
		m4, i4, a4 = &ruleset.Set{Name: "m4", Type: ruleset.Addr4, Verdicts: true}, &ruleset.Set{Name: "i4", Type: ruleset.Addr4, Interval: true}, &ruleset.Set{Name: "a4", Type: ruleset.Addr4}
		one        = ruleset.Elem{A: addr("10.0.0.1")}
		two        = ruleset.Elem{A: addr("10.0.0.2")}
	)
	rule := func(v ruleset.Verdict, m ...ruleset.Match) change.Op {
		return change.AddRule{Table: "t", Chain: "free", Rule: ruleset.Rule{Matches: m, Verdict: v}}
	}
	accept := ruleset.Verdict{Kind: ruleset.Accept}
	return []trial{
		{"table there", []change.Op{change.AddTable{Table: "t"}}, syscall.EEXIST},
		{"no table", []change.Op{change.DelTable{Table: "none"}}, syscall.ENOENT},
		{"chain in no table", []change.Op{change.AddChain{Table: "none", Chain: &ruleset.Chain{Name: "c"}}}, syscall.ENOENT},
		{"table anew", []change.Op{change.DelTable{Table: "t"}, change.AddTable{Table: "t"}, change.AddChain{Table: "t", Chain: &ruleset.Chain{Name: "free"}}}, 0},
		{"chain there", []change.Op{change.AddChain{Table: "t", Chain: &ruleset.Chain{Name: "free"}}}, syscall.EEXIST},
		{"no chain to delete", []change.Op{change.DelChain{Table: "t", Chain: "none"}}, syscall.ENOENT},
		{"no chain to flush", []change.Op{change.FlushChain{Table: "t", Chain: "none"}}, syscall.ENOENT},
		{"rule in no chain", []change.Op{change.AddRule{Table: "t", Chain: "none", Rule: ruleset.Rule{Verdict: accept}}}, syscall.ENOENT},
		{"delete free chain", []change.Op{change.DelChain{Table: "t", Chain: "free"}}, 0},
		{"delete chain with rules", []change.Op{rule(accept), change.DelChain{Table: "t", Chain: "free"}}, 0},
		{"delete base chain", []change.Op{change.DelChain{Table: "t", Chain: "base"}}, 0},
		{"chain anew", []change.Op{change.DelChain{Table: "t", Chain: "free"}, change.AddChain{Table: "t", Chain: &ruleset.Chain{Name: "free", Hook: &ruleset.Hook{Point: ruleset.Output, Priority: 1}}}}, 0},
		{"delete chain of a rule", []change.Op{change.DelChain{Table: "t", Chain: "ruled"}}, syscall.EBUSY},
		{"flush, delete chain of a rule", []change.Op{change.FlushChain{Table: "t", Chain: "base"}, change.DelChain{Table: "t", Chain: "ruled"}}, 0},
		{"delete chain of an element", []change.Op{change.DelChain{Table: "t", Chain: "mapped"}}, syscall.EBUSY},
		{"delete element and chain", []change.Op{change.DelElems{Table: "t", Set: m4, Elems: []ruleset.ElemVerdict{{Elem: one, Verdict: ruleset.Verdict{Kind: ruleset.Jump, Chain: "mapped"}}}}, change.DelChain{Table: "t", Chain: "mapped"}}, 0},
		{"delete map and chain", []change.Op{change.FlushChain{Table: "t", Chain: "base"}, change.DelSet{Table: "t", Set: "m4"}, change.DelChain{Table: "t", Chain: "mapped"}}, 0},
		{"delete chain, then its map", []change.Op{change.FlushChain{Table: "t", Chain: "base"}, change.DelChain{Table: "t", Chain: "mapped"}, change.DelSet{Table: "t", Set: "m4"}}, syscall.EBUSY},
		{"set there", []change.Op{change.AddSet{Table: "t", Set: a4}}, syscall.EEXIST},
		{"no set to delete", []change.Op{change.DelSet{Table: "t", Set: "none"}}, syscall.ENOENT},
		{"delete free set", []change.Op{change.DelSet{Table: "t", Set: "a4"}}, 0},
		{"delete set in use", []change.Op{change.DelSet{Table: "t", Set: "i4"}}, syscall.EBUSY},
		{"delete map in use", []change.Op{change.DelSet{Table: "t", Set: "m4"}}, syscall.EBUSY},
		{"set anew with another type", []change.Op{change.FlushChain{Table: "t", Chain: "base"}, change.DelSet{Table: "t", Set: "i4"}, change.AddSet{Table: "t", Set: &ruleset.Set{Name: "i4", Type: ruleset.Addr6}}}, 0},
		{"element there", []change.Op{change.AddElems{Table: "t", Set: a4, Elems: []ruleset.ElemVerdict{{Elem: one}}}}, syscall.EEXIST},
		{"element there with another verdict", []change.Op{change.AddElems{Table: "t", Set: m4, Elems: []ruleset.ElemVerdict{{Elem: one, Verdict: accept}}}}, syscall.EEXIST},
		{"element replaced", []change.Op{change.DelElems{Table: "t", Set: m4, Elems: []ruleset.ElemVerdict{{Elem: one, Verdict: ruleset.Verdict{}}}}, change.AddElems{Table: "t", Set: m4, Elems: []ruleset.ElemVerdict{{Elem: one, Verdict: accept}}}}, 0},
		{"element twice", []change.Op{change.AddElems{Table: "t", Set: a4, Elems: []ruleset.ElemVerdict{{Elem: two}, {Elem: two}}}}, syscall.EEXIST},
		{"no element to delete", []change.Op{change.DelElems{Table: "t", Set: a4, Elems: []ruleset.ElemVerdict{{Elem: two}}}}, syscall.ENOENT},
		{"element deleted twice", []change.Op{change.DelElems{Table: "t", Set: a4, Elems: []ruleset.ElemVerdict{{Elem: one}, {Elem: one}}}}, syscall.ENOENT},
		{"element of no set", []change.Op{change.AddElems{Table: "t", Set: &ruleset.Set{Name: "none"}, Elems: []ruleset.ElemVerdict{{Elem: one}}}}, syscall.ENOENT},
		{"element of another family", []change.Op{change.AddElems{Table: "t", Set: a4, Elems: []ruleset.ElemVerdict{{Elem: ruleset.Elem{A: addr("fd00::1")}}}}}, syscall.EINVAL},
		{"element without address", []change.Op{change.AddElems{Table: "t", Set: a4, Elems: []ruleset.ElemVerdict{{}}}}, syscall.EINVAL},
		{"verdict in a set", []change.Op{change.AddElems{Table: "t", Set: a4, Elems: []ruleset.ElemVerdict{{Elem: two, Verdict: accept}}}}, syscall.EINVAL},
		{"element to no chain", []change.Op{change.AddElems{Table: "t", Set: m4, Elems: []ruleset.ElemVerdict{{Elem: two, Verdict: ruleset.Verdict{Kind: ruleset.Goto, Chain: "none"}}}}}, syscall.ENOENT},
		{"element to a base chain", []change.Op{change.AddElems{Table: "t", Set: m4, Elems: []ruleset.ElemVerdict{{Elem: two, Verdict: ruleset.Verdict{Kind: ruleset.Goto, Chain: "base"}}}}}, syscall.EOPNOTSUPP},
		{"interval apart", []change.Op{change.AddElems{Table: "t", Set: i4, Elems: []ruleset.ElemVerdict{interval("10.0.0.21", "10.0.0.28")}}}, 0},
		{"interval that touches", []change.Op{change.AddElems{Table: "t", Set: i4, Elems: []ruleset.ElemVerdict{interval("10.0.0.20", "10.0.0.29")}}}, 0},
		{"interval that overlaps below", []change.Op{change.AddElems{Table: "t", Set: i4, Elems: []ruleset.ElemVerdict{interval("10.0.0.1", "10.0.0.10")}}}, syscall.EEXIST},
		{"interval that overlaps above", []change.Op{change.AddElems{Table: "t", Set: i4, Elems: []ruleset.ElemVerdict{interval("10.0.0.39", "10.0.0.50")}}}, syscall.EEXIST},
		{"interval within", []change.Op{change.AddElems{Table: "t", Set: i4, Elems: []ruleset.ElemVerdict{interval("10.0.0.12", "10.0.0.14")}}}, syscall.EEXIST},
		{"interval around", []change.Op{change.AddElems{Table: "t", Set: i4, Elems: []ruleset.ElemVerdict{interval("10.0.0.1", "10.0.0.50")}}}, syscall.EEXIST},
		{"interval around, to the end", []change.Op{change.AddElems{Table: "t", Set: i4, Elems: []ruleset.ElemVerdict{interval("10.0.0.1", "255.255.255.255")}}}, mistake},
		{"interval to the end that overlaps", []change.Op{change.AddElems{Table: "t", Set: i4, Elems: []ruleset.ElemVerdict{interval("10.0.0.35", "255.255.255.255")}}}, mistake},
		{"interval to the end from one that is there", []change.Op{change.AddElems{Table: "t", Set: i4, Elems: []ruleset.ElemVerdict{interval("10.0.0.30", "255.255.255.255")}}}, syscall.EEXIST},
		{"interval there", []change.Op{change.AddElems{Table: "t", Set: i4, Elems: []ruleset.ElemVerdict{interval("10.0.0.10", "10.0.0.19")}}}, syscall.EEXIST},
		{"part of an interval deleted", []change.Op{change.DelElems{Table: "t", Set: i4, Elems: []ruleset.ElemVerdict{interval("10.0.0.10", "10.0.0.12")}}}, syscall.ENOENT},
		{"ends of two intervals deleted", []change.Op{change.DelElems{Table: "t", Set: i4, Elems: []ruleset.ElemVerdict{interval("10.0.0.10", "10.0.0.39")}}}, mistake},
		{"interval to the end deleted", []change.Op{change.DelElems{Table: "t", Set: i4, Elems: []ruleset.ElemVerdict{interval("10.0.0.10", "255.255.255.255")}}}, mistake},
		{"interval grown", []change.Op{
			change.DelElems{Table: "t", Set: i4, Elems: []ruleset.ElemVerdict{interval("10.0.0.10", "10.0.0.19")}},
			change.AddElems{Table: "t", Set: i4, Elems: []ruleset.ElemVerdict{interval("10.0.0.5", "10.0.0.25")}}}, 0},
		{"interval backwards", []change.Op{change.AddElems{Table: "t", Set: i4, Elems: []ruleset.ElemVerdict{interval("10.0.0.28", "10.0.0.21")}}}, syscall.EINVAL},
		{"jump to no chain", []change.Op{jumpRule("free", "none")}, syscall.ENOENT},
		{"jump to a base chain", []change.Op{jumpRule("free", "base")}, syscall.EOPNOTSUPP},
		{"jump to a chain deleted before", []change.Op{change.DelChain{Table: "t", Chain: "free"}, jumpRule("ruled", "free")}, syscall.ENOENT},
		{"rule with no set", []change.Op{rule(accept, ruleset.InSet{End: ruleset.Src, Family: ruleset.V4, Set: "none"})}, syscall.ENOENT},
		{"map as a set", []change.Op{rule(accept, ruleset.InSet{End: ruleset.Src, Family: ruleset.V4, Set: "m4"})}, mistake},
		{"set as a map", []change.Op{rule(ruleset.Verdict{}, ruleset.AddrVerdict{End: ruleset.Src, Family: ruleset.V4, Map: "a4"})}, syscall.EINVAL},
		{"set of another family", []change.Op{rule(accept, ruleset.InSet{End: ruleset.Src, Family: ruleset.V6, Set: "a4"})}, mistake},
		{"set of other keys", []change.Op{rule(accept, ruleset.AddrPairInSet{Family: ruleset.V4, Set: "a4"})}, mistake},
		{"ports of ICMP", []change.Op{rule(accept, ruleset.DstPort{Protocol: 1, First: 80, Last: 80})}, mistake},
		{"ports backwards", []change.Op{rule(accept, ruleset.DstPort{Protocol: 6, First: 81, Last: 80})}, mistake},
		{"bits behind the prefix", []change.Op{rule(accept, ruleset.InPrefix{End: ruleset.Src, Prefix: prefix("10.0.0.1/8")})}, mistake},
		{"no prefix", []change.Op{rule(accept, ruleset.InPrefix{})}, syscall.EINVAL},
		{"no family", []change.Op{rule(accept, ruleset.IsFamily{})}, syscall.EINVAL},
		{"two families", []change.Op{rule(accept, ruleset.IsFamily{Family: ruleset.V4}, ruleset.InPrefix{End: ruleset.Src, Prefix: prefix("::/0")})}, mistake},
		{"two protocols", []change.Op{rule(accept, ruleset.NotSYN{}, ruleset.DstPort{Protocol: 17, First: 1, Last: 1})}, mistake},
		{"foreign rule", []change.Op{rule(accept, ruleset.Foreign{})}, syscall.EINVAL},
		{"map that does not decide", []change.Op{rule(accept, ruleset.AddrVerdict{End: ruleset.Src, Family: ruleset.V4, Map: "m4"})}, mistake},
		{"long comment", []change.Op{change.AddRule{Table: "t", Chain: "free", Rule: ruleset.Rule{Comment: strings.Repeat("x", 129)}}}, mistake},
		{"name that nft cannot read", []change.Op{change.AddChain{Table: "t", Chain: &ruleset.Chain{Name: "a b"}}}, mistake},
		{"no name", []change.Op{change.AddChain{Table: "t", Chain: &ruleset.Chain{}}}, syscall.EINVAL},
		{"long name", []change.Op{change.AddChain{Table: "t", Chain: &ruleset.Chain{Name: strings.Repeat("x", 256)}}}, syscall.EINVAL},
		{"foreign hook", []change.Op{change.AddChain{Table: "t", Chain: &ruleset.Chain{Name: "c", Hook: &ruleset.Hook{Point: ruleset.ForeignHook}}}}, syscall.EOPNOTSUPP},
		{"foreign set", []change.Op{change.AddSet{Table: "t", Set: &ruleset.Set{Name: "s", Type: ruleset.ForeignType}}}, syscall.EINVAL},
		{"loop", []change.Op{jumpRule("ruled", "free"), jumpRule("free", "ruled")}, syscall.EMLINK},
		{"loop of one chain", []change.Op{jumpRule("ruled", "ruled")}, syscall.EMLINK},
		{"loop through a map", []change.Op{jumpRule("mapped", "free"), change.AddRule{Table: "t", Chain: "free", Rule: ruleset.Rule{Matches: []ruleset.Match{ruleset.AddrVerdict{End: ruleset.Dst, Family: ruleset.V4, Map: "m4"}}}}}, syscall.EMLINK},
		{"loop that nothing reaches", []change.Op{jumpRule("free", "free")}, mistake},
		{"loop undone", []change.Op{jumpRule("ruled", "free"), jumpRule("free", "ruled"), change.FlushChain{Table: "t", Chain: "free"}}, 0},
		{"15 jumps", ladder("ruled", 14), 0},
		{"16 jumps", ladder("ruled", 15), syscall.EMLINK},
		{"16 jumps through a map", ladder("mapped", 15), syscall.EMLINK},
		{"16 jumps, first half written last", append(ladder("free", 14), jumpRule("ruled", "free")), syscall.EMLINK},
		{"many jumps that nothing reaches", ladder("free", 30), 0},
	}
}

// ladder returns operations that lead from a chain down n more chains, alternating jumps and gotos.
func ladder(from string, n int) []change.Op {
	var ops []change.Op
	for i := range n {
		next := fmt.Sprintf("step%d", i)
		kind := ruleset.Jump
		if i%2 == 1 {
			kind = ruleset.Goto
		}
		ops = append(ops, change.AddChain{Table: "t", Chain: &ruleset.Chain{Name: next}}, change.AddRule{Table: "t", Chain: from, Rule: ruleset.Rule{Verdict: ruleset.Verdict{Kind: kind, Chain: next}}})
		from = next
	}
	return ops
}

func TestModelRefuses(t *testing.T) {
	for _, c := range trials() {
		t.Run(c.name, func(t *testing.T) {
			m := New()
			if err := m.Apply(stage()); err != nil {
				t.Fatal(err)
			}
			before := compare.Clone(m.Tables["t"])
			err := m.Apply(&change.Tx{Ops: c.ops})
			if c.errno == 0 {
				if err != nil {
					t.Fatalf("refused: %v", err)
				}
				return
			}
			var refusal *RefusalError
			if !errors.As(err, &refusal) {
				t.Fatalf("not refused: %v", err)
			}
			if c.errno == mistake && refusal.Errno != 0 || c.errno != mistake && !errors.Is(err, c.errno) {
				t.Errorf("refused for the wrong reason: %v", err)
			}
			if d := compare.Difference(before, m.Tables["t"]); d != "" {
				t.Errorf("changed:\n%s", d)
			}
		})
	}
}

// The kernel and its tool accept and refuse the same transactions. The test leaves out those that only the Model
// considers a mistake, and those that cannot be written as a script.
func TestKernelRefusesTheSame(t *testing.T) {
	nft := tool.New(t)
	for _, c := range trials() {
		if c.errno == mistake || c.name == "foreign rule" {
			continue
		}
		if err := nft(stage().String()); err != nil {
			t.Fatalf("stage: %v", err)
		}
		err := nft((&change.Tx{Ops: c.ops}).String())
		if refused := err != nil; refused != (c.errno != 0) {
			t.Errorf("%s: the Model returns %q, the tool %v", c.name, c.errno, err)
		}
		if err := nft("delete table inet t"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestModelBefore62(t *testing.T) {
	m4 := &ruleset.Set{Name: "m4", Type: ruleset.Addr4, Verdicts: true}
	one := []ruleset.ElemVerdict{{Elem: ruleset.Elem{A: addr("10.0.0.1")}}}
	m := New()
	m.Before62 = true
	if err := m.Apply(stage()); err != nil {
		t.Fatal(err)
	}
	err := m.Apply(&change.Tx{Ops: []change.Op{change.DelElems{Table: "t", Set: m4, Elems: one}, change.DelChain{Table: "t", Chain: "mapped"}}})
	if !errors.Is(err, syscall.EBUSY) {
		t.Fatalf("in one transaction: %v", err)
	}
	for _, op := range []change.Op{change.DelElems{Table: "t", Set: m4, Elems: one}, change.DelChain{Table: "t", Chain: "mapped"}} {
		if err := m.Apply(&change.Tx{Ops: []change.Op{op}}); err != nil {
			t.Fatalf("one after the other: %v", err)
		}
	}
}

// Load accepts what others may have left, and refuses what no kernel can contain.
func TestLoad(t *testing.T) {
	foreign := ruleset.New()
	foreign.Chains["a b"] = &ruleset.Chain{Name: "a b", Rules: []ruleset.Rule{{Matches: []ruleset.Match{ruleset.Foreign{Note: "x"}}, Verdict: ruleset.Verdict{Kind: ruleset.Jump, Chain: "a b"}}}}
	foreign.Chains["nat"] = &ruleset.Chain{Name: "nat", Hook: &ruleset.Hook{Point: ruleset.ForeignHook}}
	foreign.Sets["s"] = &ruleset.Set{Name: "s", Type: ruleset.ForeignType}
	m := New()
	if err := m.Load("t", foreign); err != nil {
		t.Errorf("foreign: %v", err)
	}
	dangling := ruleset.New()
	dangling.Chains["c"] = &ruleset.Chain{Name: "c", Rules: []ruleset.Rule{{Verdict: ruleset.Verdict{Kind: ruleset.Jump, Chain: "none"}}}}
	if err := m.Load("t", dangling); err == nil {
		t.Error("a dangling jump was loaded")
	}
	if m.Tables["t"].Chains["nat"] == nil {
		t.Error("a refused Load changed the table")
	}
	every := gen.Every()
	if err := m.Load("t", every); err != nil {
		t.Fatal(err)
	}
	if err := m.Apply(&change.Tx{Ops: []change.Op{change.FlushChain{Table: "t", Chain: "forward"}, change.DelElems{Table: "t", Set: every.Sets["pods4"], Elems: []ruleset.ElemVerdict{{Elem: ruleset.Elem{A: addr("10.0.0.9")}}}}}}); err != nil {
		t.Fatal(err)
	}
	if len(every.Chains["forward"].Rules) != 2 || len(every.Sets["pods4"].Elems) != 2 {
		t.Error("Apply changed what was loaded")
	}
}

func TestRefusalIsReadable(t *testing.T) {
	m := New()
	if err := m.Apply(stage()); err != nil {
		t.Fatal(err)
	}
	err := m.Apply(&change.Tx{Ops: []change.Op{change.DelChain{Table: "t", Chain: "free"}, change.DelChain{Table: "t", Chain: "ruled"}}})
	want := `operation 1 (delete chain inet t ruled) refused: 1 references to chain "ruled", one of them from "base": device or resource busy`
	if err == nil || err.Error() != want {
		t.Errorf("error: %v", err)
	}
}

func BenchmarkModelOneElement(b *testing.B) {
	m := New()
	m4 := &ruleset.Set{Name: "m4", Type: ruleset.Addr4, Verdicts: true}
	tx := &change.Tx{Ops: []change.Op{change.AddTable{Table: "t"}, change.AddSet{Table: "t", Set: m4}, change.AddChain{Table: "t", Chain: &ruleset.Chain{Name: "base", Hook: &ruleset.Hook{Point: ruleset.Forward, Priority: 5}}}}}
	a := addr("10.0.0.0")
	for i := range 10_000 {
		name := fmt.Sprintf("c%d", i)
		a = a.Next()
		tx.Add(change.AddChain{Table: "t", Chain: &ruleset.Chain{Name: name}}, change.AddRule{Table: "t", Chain: name, Rule: ruleset.Rule{Verdict: ruleset.Verdict{Kind: ruleset.Drop}}},
			change.AddElems{Table: "t", Set: m4, Elems: []ruleset.ElemVerdict{{Elem: ruleset.Elem{A: a}, Verdict: ruleset.Verdict{Kind: ruleset.Goto, Chain: name}}}})
	}
	tx.Add(change.AddRule{Table: "t", Chain: "base", Rule: ruleset.Rule{Matches: []ruleset.Match{ruleset.AddrVerdict{End: ruleset.Dst, Family: ruleset.V4, Map: "m4"}}}})
	if err := m.Apply(tx); err != nil {
		b.Fatal(err)
	}
	elem := []ruleset.ElemVerdict{{Elem: ruleset.Elem{A: a.Next()}, Verdict: ruleset.Verdict{Kind: ruleset.Goto, Chain: "c5"}}}
	for b.Loop() {
		if err := m.Apply(&change.Tx{Ops: []change.Op{change.AddElems{Table: "t", Set: m4, Elems: elem}}}); err != nil {
			b.Fatal(err)
		}
		if err := m.Apply(&change.Tx{Ops: []change.Op{change.DelElems{Table: "t", Set: m4, Elems: elem}}}); err != nil {
			b.Fatal(err)
		}
	}
}
