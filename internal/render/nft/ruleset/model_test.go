package ruleset

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
)

// stage is a small consistent table for transactions to be tried on.
func stage() *Tx {
	set := func(s Set) *Set { return &s }
	m4 := set(Set{Name: "m4", Type: Addr4, Verdicts: true})
	i4 := set(Set{Name: "i4", Type: Addr4, Interval: true})
	a4 := set(Set{Name: "a4", Type: Addr4})
	return &Tx{Ops: []Op{
		AddTable{Table: "t"},
		AddSet{"t", m4}, AddSet{"t", i4}, AddSet{"t", a4},
		AddChain{"t", &Chain{Name: "base", Hook: &Hook{Forward, 5}}},
		AddChain{"t", &Chain{Name: "ruled"}}, AddChain{"t", &Chain{Name: "mapped"}}, AddChain{"t", &Chain{Name: "free"}},
		AddElems{"t", m4, []ElemVerdict{{Elem{A: addr("10.0.0.1")}, Verdict{Jump, "mapped"}}}},
		AddElems{"t", i4, []ElemVerdict{interval("10.0.0.10", "10.0.0.19"), interval("10.0.0.30", "10.0.0.39")}},
		AddElems{"t", a4, []ElemVerdict{{Elem: Elem{A: addr("10.0.0.1")}}}},
		AddRule{"t", "base", Rule{Matches: []Match{AddrVerdict{Dst, V4, "m4"}}}},
		AddRule{"t", "base", Rule{Matches: []Match{InSet{Src, V4, "i4"}}, Verdict: Verdict{Goto, "ruled"}}},
	}}
}

func interval(a, b string) ElemVerdict { return ElemVerdict{Elem: Elem{A: addr(a), B: addr(b)}} }

func jumpRule(from, to string) Op { return AddRule{"t", from, Rule{Verdict: Verdict{Jump, to}}} }

type trial struct {
	name  string
	ops   []Op
	errno syscall.Errno // accepted is 0; mistake is -1
}

const mistake = syscall.Errno(0xffff)

func trials() []trial {
	var (
		m4, i4, a4 = &Set{Name: "m4", Type: Addr4, Verdicts: true}, &Set{Name: "i4", Type: Addr4, Interval: true}, &Set{Name: "a4", Type: Addr4}
		pp         = &Set{Name: "pp", Type: ProtoPort, Verdicts: true}
		one        = Elem{A: addr("10.0.0.1")}
		two        = Elem{A: addr("10.0.0.2")}
	)
	rule := func(v Verdict, m ...Match) Op { return AddRule{"t", "free", Rule{Matches: m, Verdict: v}} }
	accept := Verdict{Kind: Accept}
	return []trial{
		{"table there", []Op{AddTable{Table: "t"}}, syscall.EEXIST},
		{"no table", []Op{DelTable{"none"}}, syscall.ENOENT},
		{"chain in no table", []Op{AddChain{"none", &Chain{Name: "c"}}}, syscall.ENOENT},
		{"table anew", []Op{DelTable{"t"}, AddTable{Table: "t"}, AddChain{"t", &Chain{Name: "free"}}}, 0},
		{"chain there", []Op{AddChain{"t", &Chain{Name: "free"}}}, syscall.EEXIST},
		{"no chain to delete", []Op{DelChain{"t", "none"}}, syscall.ENOENT},
		{"no chain to flush", []Op{FlushChain{"t", "none"}}, syscall.ENOENT},
		{"rule in no chain", []Op{AddRule{"t", "none", Rule{Verdict: accept}}}, syscall.ENOENT},
		{"delete free chain", []Op{DelChain{"t", "free"}}, 0},
		{"delete chain with rules", []Op{rule(accept), DelChain{"t", "free"}}, 0},
		{"delete base chain", []Op{DelChain{"t", "base"}}, 0},
		{"chain anew", []Op{DelChain{"t", "free"}, AddChain{"t", &Chain{Name: "free", Hook: &Hook{Output, 1}}}}, 0},
		{"delete chain of a rule", []Op{DelChain{"t", "ruled"}}, syscall.EBUSY},
		{"flush, delete chain of a rule", []Op{FlushChain{"t", "base"}, DelChain{"t", "ruled"}}, 0},
		{"delete chain of an element", []Op{DelChain{"t", "mapped"}}, syscall.EBUSY},
		{"delete element and chain", []Op{DelElems{"t", m4, []ElemVerdict{{one, Verdict{Jump, "mapped"}}}}, DelChain{"t", "mapped"}}, 0},
		{"delete map and chain", []Op{FlushChain{"t", "base"}, DelSet{"t", "m4"}, DelChain{"t", "mapped"}}, 0},
		{"delete chain, then its map", []Op{FlushChain{"t", "base"}, DelChain{"t", "mapped"}, DelSet{"t", "m4"}}, syscall.EBUSY},
		{"set there", []Op{AddSet{"t", a4}}, syscall.EEXIST},
		{"no set to delete", []Op{DelSet{"t", "none"}}, syscall.ENOENT},
		{"delete free set", []Op{DelSet{"t", "a4"}}, 0},
		{"delete set in use", []Op{DelSet{"t", "i4"}}, syscall.EBUSY},
		{"delete map in use", []Op{DelSet{"t", "m4"}}, syscall.EBUSY},
		{"set anew with another type", []Op{FlushChain{"t", "base"}, DelSet{"t", "i4"}, AddSet{"t", &Set{Name: "i4", Type: Addr6}}}, 0},
		{"element there", []Op{AddElems{"t", a4, []ElemVerdict{{Elem: one}}}}, syscall.EEXIST},
		{"element there with another verdict", []Op{AddElems{"t", m4, []ElemVerdict{{one, accept}}}}, syscall.EEXIST},
		{"element replaced", []Op{DelElems{"t", m4, []ElemVerdict{{one, Verdict{}}}}, AddElems{"t", m4, []ElemVerdict{{one, accept}}}}, 0},
		{"element twice", []Op{AddElems{"t", a4, []ElemVerdict{{Elem: two}, {Elem: two}}}}, syscall.EEXIST},
		{"no element to delete", []Op{DelElems{"t", a4, []ElemVerdict{{Elem: two}}}}, syscall.ENOENT},
		{"element deleted twice", []Op{DelElems{"t", a4, []ElemVerdict{{Elem: one}, {Elem: one}}}}, syscall.ENOENT},
		{"element of no set", []Op{AddElems{"t", &Set{Name: "none"}, []ElemVerdict{{Elem: one}}}}, syscall.ENOENT},
		{"element of another family", []Op{AddElems{"t", a4, []ElemVerdict{{Elem: Elem{A: addr("fd00::1")}}}}}, syscall.EINVAL},
		{"element without address", []Op{AddElems{"t", a4, []ElemVerdict{{}}}}, syscall.EINVAL},
		{"verdict in a set", []Op{AddElems{"t", a4, []ElemVerdict{{two, accept}}}}, syscall.EINVAL},
		{"element to no chain", []Op{AddElems{"t", m4, []ElemVerdict{{two, Verdict{Goto, "none"}}}}}, syscall.ENOENT},
		{"element to a base chain", []Op{AddElems{"t", m4, []ElemVerdict{{two, Verdict{Goto, "base"}}}}}, syscall.EOPNOTSUPP},
		{"interval apart", []Op{AddElems{"t", i4, []ElemVerdict{interval("10.0.0.21", "10.0.0.28")}}}, 0},
		{"interval that touches", []Op{AddElems{"t", i4, []ElemVerdict{interval("10.0.0.20", "10.0.0.29")}}}, 0},
		{"interval that overlaps below", []Op{AddElems{"t", i4, []ElemVerdict{interval("10.0.0.1", "10.0.0.10")}}}, syscall.EEXIST},
		{"interval that overlaps above", []Op{AddElems{"t", i4, []ElemVerdict{interval("10.0.0.39", "10.0.0.50")}}}, syscall.EEXIST},
		{"interval within", []Op{AddElems{"t", i4, []ElemVerdict{interval("10.0.0.12", "10.0.0.14")}}}, syscall.EEXIST},
		{"interval around", []Op{AddElems{"t", i4, []ElemVerdict{interval("10.0.0.1", "10.0.0.50")}}}, syscall.EEXIST},
		{"interval around, to the end", []Op{AddElems{"t", i4, []ElemVerdict{interval("10.0.0.1", "255.255.255.255")}}}, mistake},
		{"interval to the end that overlaps", []Op{AddElems{"t", i4, []ElemVerdict{interval("10.0.0.35", "255.255.255.255")}}}, mistake},
		{"interval to the end from one that is there", []Op{AddElems{"t", i4, []ElemVerdict{interval("10.0.0.30", "255.255.255.255")}}}, syscall.EEXIST},
		{"interval there", []Op{AddElems{"t", i4, []ElemVerdict{interval("10.0.0.10", "10.0.0.19")}}}, syscall.EEXIST},
		{"part of an interval deleted", []Op{DelElems{"t", i4, []ElemVerdict{interval("10.0.0.10", "10.0.0.12")}}}, syscall.ENOENT},
		{"ends of two intervals deleted", []Op{DelElems{"t", i4, []ElemVerdict{interval("10.0.0.10", "10.0.0.39")}}}, mistake},
		{"interval to the end deleted", []Op{DelElems{"t", i4, []ElemVerdict{interval("10.0.0.10", "255.255.255.255")}}}, mistake},
		{"interval grown", []Op{
			DelElems{"t", i4, []ElemVerdict{interval("10.0.0.10", "10.0.0.19")}},
			AddElems{"t", i4, []ElemVerdict{interval("10.0.0.5", "10.0.0.25")}}}, 0},
		{"interval backwards", []Op{AddElems{"t", i4, []ElemVerdict{interval("10.0.0.28", "10.0.0.21")}}}, syscall.EINVAL},
		{"jump to no chain", []Op{jumpRule("free", "none")}, syscall.ENOENT},
		{"jump to a base chain", []Op{jumpRule("free", "base")}, syscall.EOPNOTSUPP},
		{"jump to a chain deleted before", []Op{DelChain{"t", "free"}, jumpRule("ruled", "free")}, syscall.ENOENT},
		{"rule with no set", []Op{rule(accept, InSet{Src, V4, "none"})}, syscall.ENOENT},
		{"map as a set", []Op{rule(accept, InSet{Src, V4, "m4"})}, mistake},
		{"set as a map", []Op{rule(Verdict{}, AddrVerdict{Src, V4, "a4"})}, syscall.EINVAL},
		{"set of another family", []Op{rule(accept, InSet{Src, V6, "a4"})}, mistake},
		{"set of other keys", []Op{rule(accept, AddrPairInSet{V4, "a4"})}, mistake},
		{"ports of ICMP", []Op{rule(accept, DstPort{1, 80, 80})}, mistake},
		{"ports backwards", []Op{rule(accept, DstPort{6, 81, 80})}, mistake},
		{"ports of ICMP in a map", []Op{AddSet{"t", pp}, AddElems{"t", pp, []ElemVerdict{{Elem{Proto: 1, Port: 0}, accept}}}}, mistake},
		{"bits behind the prefix", []Op{rule(accept, InPrefix{Src, prefix("10.0.0.1/8")})}, mistake},
		{"no prefix", []Op{rule(accept, InPrefix{})}, syscall.EINVAL},
		{"no family", []Op{rule(accept, IsFamily{})}, syscall.EINVAL},
		{"two families", []Op{rule(accept, IsFamily{V4}, InPrefix{Src, prefix("::/0")})}, mistake},
		{"two protocols", []Op{rule(accept, NotSYN{}, DstPort{17, 1, 1})}, mistake},
		{"foreign rule", []Op{rule(accept, Foreign{})}, syscall.EINVAL},
		{"map that does not decide", []Op{rule(accept, AddrVerdict{Src, V4, "m4"})}, mistake},
		{"long comment", []Op{AddRule{"t", "free", Rule{Comment: strings.Repeat("x", 129)}}}, mistake},
		{"name that nft cannot read", []Op{AddChain{"t", &Chain{Name: "a b"}}}, mistake},
		{"no name", []Op{AddChain{"t", &Chain{}}}, syscall.EINVAL},
		{"long name", []Op{AddChain{"t", &Chain{Name: strings.Repeat("x", 256)}}}, syscall.EINVAL},
		{"foreign hook", []Op{AddChain{"t", &Chain{Name: "c", Hook: &Hook{Point: ForeignHook}}}}, syscall.EOPNOTSUPP},
		{"foreign set", []Op{AddSet{"t", &Set{Name: "s", Type: ForeignType}}}, syscall.EINVAL},
		{"loop", []Op{jumpRule("ruled", "free"), jumpRule("free", "ruled")}, syscall.EMLINK},
		{"loop of one chain", []Op{jumpRule("ruled", "ruled")}, syscall.EMLINK},
		{"loop through a map", []Op{jumpRule("mapped", "free"), AddRule{"t", "free", Rule{Matches: []Match{AddrVerdict{Dst, V4, "m4"}}}}}, syscall.EMLINK},
		{"loop that nothing reaches", []Op{jumpRule("free", "free")}, mistake},
		{"loop undone", []Op{jumpRule("ruled", "free"), jumpRule("free", "ruled"), FlushChain{"t", "free"}}, 0},
		{"15 jumps", ladder("ruled", 14), 0},
		{"16 jumps", ladder("ruled", 15), syscall.EMLINK},
		{"16 jumps through a map", ladder("mapped", 15), syscall.EMLINK},
		{"16 jumps, first half written last", append(ladder("free", 14), jumpRule("ruled", "free")), syscall.EMLINK},
		{"many jumps that nothing reaches", ladder("free", 30), 0},
	}
}

// ladder leads from a chain down n more chains, alternating jumps and gotos.
func ladder(from string, n int) []Op {
	var ops []Op
	for i := range n {
		next := fmt.Sprintf("step%d", i)
		kind := Jump
		if i%2 == 1 {
			kind = Goto
		}
		ops = append(ops, AddChain{"t", &Chain{Name: next}}, AddRule{"t", from, Rule{Verdict: Verdict{kind, next}}})
		from = next
	}
	return ops
}

func TestModelRefuses(t *testing.T) {
	for _, c := range trials() {
		t.Run(c.name, func(t *testing.T) {
			m := NewModel()
			if err := m.Apply(stage()); err != nil {
				t.Fatal(err)
			}
			before := m.Tables["t"].Clone()
			err := m.Apply(&Tx{Ops: c.ops})
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
				t.Errorf("refused for another reason: %v", err)
			}
			if d := before.Difference(m.Tables["t"]); d != "" {
				t.Errorf("changed:\n%s", d)
			}
		})
	}
}

// The kernel and its tool refuse and accept the same. What is only a mistake to the Model, and what cannot be
// written as a script, is left out.
func TestKernelRefusesTheSame(t *testing.T) {
	inNetNS(t, func() error {
		for _, c := range trials() {
			if c.errno == mistake || c.name == "foreign rule" {
				continue
			}
			if err := nft(stage().String()); err != nil {
				return fmt.Errorf("stage: %w", err)
			}
			err := nft((&Tx{Ops: c.ops}).String())
			if refused := err != nil; refused != (c.errno != 0) {
				t.Errorf("%s: the Model says %q, the tool %v", c.name, c.errno, err)
			}
			if err := nft("delete table inet t"); err != nil {
				return err
			}
		}
		return nil
	})
}

func TestModelHoldsMapTargets(t *testing.T) {
	m4 := &Set{Name: "m4", Type: Addr4, Verdicts: true}
	one := []ElemVerdict{{Elem: Elem{A: addr("10.0.0.1")}}}
	m := NewModel()
	m.HoldMapTargets = true
	if err := m.Apply(stage()); err != nil {
		t.Fatal(err)
	}
	err := m.Apply(&Tx{Ops: []Op{DelElems{"t", m4, one}, DelChain{"t", "mapped"}}})
	if !errors.Is(err, syscall.EBUSY) {
		t.Fatalf("in one transaction: %v", err)
	}
	for _, op := range []Op{DelElems{"t", m4, one}, DelChain{"t", "mapped"}} {
		if err := m.Apply(&Tx{Ops: []Op{op}}); err != nil {
			t.Fatalf("one after the other: %v", err)
		}
	}
}

// Load takes what a foreign hand may have left, and refuses what no kernel can hold.
func TestLoad(t *testing.T) {
	foreign := New()
	foreign.Chains["a b"] = &Chain{Name: "a b", Rules: []Rule{{Matches: []Match{Foreign{"x"}}, Verdict: Verdict{Jump, "a b"}}}}
	foreign.Chains["nat"] = &Chain{Name: "nat", Hook: &Hook{Point: ForeignHook}}
	foreign.Sets["s"] = &Set{Name: "s", Type: ForeignType}
	m := NewModel()
	if err := m.Load("t", foreign); err != nil {
		t.Errorf("foreign: %v", err)
	}
	dangling := New()
	dangling.Chains["c"] = &Chain{Name: "c", Rules: []Rule{{Verdict: Verdict{Jump, "none"}}}}
	if err := m.Load("t", dangling); err == nil {
		t.Error("a dangling jump was loaded")
	}
	if m.Tables["t"].Chains["nat"] == nil {
		t.Error("a refused Load changed the table")
	}
	every := every()
	if err := m.Load("t", every); err != nil {
		t.Fatal(err)
	}
	if err := m.Apply(&Tx{Ops: []Op{FlushChain{"t", "forward"}, DelElems{"t", every.Sets["pods4"], []ElemVerdict{{Elem: Elem{A: addr("10.0.0.9")}}}}}}); err != nil {
		t.Fatal(err)
	}
	if len(every.Chains["forward"].Rules) != 2 || len(every.Sets["pods4"].Elems) != 2 {
		t.Error("Apply changed what was loaded")
	}
}

func TestRefusalIsReadable(t *testing.T) {
	m := NewModel()
	if err := m.Apply(stage()); err != nil {
		t.Fatal(err)
	}
	err := m.Apply(&Tx{Ops: []Op{DelChain{"t", "free"}, DelChain{"t", "ruled"}}})
	want := `operation 1 (delete chain inet t ruled) refused: 1 references to chain "ruled", one of them from "base": device or resource busy`
	if err == nil || err.Error() != want {
		t.Errorf("error: %v", err)
	}
}

func BenchmarkModelOneElement(b *testing.B) {
	m := NewModel()
	m4 := &Set{Name: "m4", Type: Addr4, Verdicts: true}
	tx := &Tx{Ops: []Op{AddTable{Table: "t"}, AddSet{"t", m4}, AddChain{"t", &Chain{Name: "base", Hook: &Hook{Forward, 5}}}}}
	a := addr("10.0.0.0")
	for i := range 10_000 {
		name := fmt.Sprintf("c%d", i)
		a = a.Next()
		tx.Add(AddChain{"t", &Chain{Name: name}}, AddRule{"t", name, Rule{Verdict: Verdict{Kind: Drop}}},
			AddElems{"t", m4, []ElemVerdict{{Elem{A: a}, Verdict{Goto, name}}}})
	}
	tx.Add(AddRule{"t", "base", Rule{Matches: []Match{AddrVerdict{Dst, V4, "m4"}}}})
	if err := m.Apply(tx); err != nil {
		b.Fatal(err)
	}
	elem := []ElemVerdict{{Elem{A: a.Next()}, Verdict{Goto, "c5"}}}
	for b.Loop() {
		if err := m.Apply(&Tx{Ops: []Op{AddElems{"t", m4, elem}}}); err != nil {
			b.Fatal(err)
		}
		if err := m.Apply(&Tx{Ops: []Op{DelElems{"t", m4, elem}}}); err != nil {
			b.Fatal(err)
		}
	}
}
