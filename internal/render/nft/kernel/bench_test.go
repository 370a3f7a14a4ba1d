package kernel

import (
	"fmt"
	"testing"

	"github.com/netpol-agent/netpol-agent/internal/render/nft/change"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/ruleset"
)

// BenchmarkLoadNode loads a well-filled node: 500 chains, 2,500 rules, 200 sets, 20,000 elements.
func BenchmarkLoadNode(b *testing.B) {
	c := newNamespace(b).open(b)
	rs := made(node)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		table := randomTable()
		tx := load(table, rs)
		b.StartTimer()
		commit(b, c, tx.Ops...)
		b.StopTimer()
		commit(b, c, change.DelTable{Table: table})
		b.StartTimer()
	}
}

// BenchmarkEncodeNode is BenchmarkLoadNode without the kernel's part.
func BenchmarkEncodeNode(b *testing.B) {
	tx := load("t", made(node))
	c := newConn(&fakeSocket{})
	b.ReportAllocs()
	for b.Loop() {
		_ = c.Commit(tx)
	}
}

// BenchmarkReadNode reads that table back.
func BenchmarkReadNode(b *testing.B) {
	c := newNamespace(b).open(b)
	table := mustLoad(b, c, made(node))
	b.ReportAllocs()
	for b.Loop() {
		mustRead(b, c, table)
	}
}

// BenchmarkElement adds one element to the table of such a node and removes it: two transactions.
func BenchmarkElement(b *testing.B) {
	c := newNamespace(b).open(b)
	rs := made(node)
	table := mustLoad(b, c, rs)
	s, one := rs.Sets["peers/0"], []ruleset.ElemVerdict{{Elem: elem("192.0.2.1")}}
	for b.Loop() {
		commit(b, c, change.AddElems{Table: table, Set: s, Elems: one})
		commit(b, c, change.DelElems{Table: table, Set: s, Elems: one})
	}
}

// BenchmarkReplaceChain replaces the rules of one chain.
func BenchmarkReplaceChain(b *testing.B) {
	c := newNamespace(b).open(b)
	rs := made(node)
	table := mustLoad(b, c, rs)
	ops := []change.Op{change.FlushChain{Table: table, Chain: "in/7"}}
	for _, r := range rs.Chains["in/7"].Rules {
		ops = append(ops, change.AddRule{Table: table, Chain: "in/7", Rule: r})
	}
	for b.Loop() {
		commit(b, c, ops...)
	}
}

// BenchmarkNewPod adds a chain with rules and the map element that leads to it, and removes both.
func BenchmarkNewPod(b *testing.B) {
	c := newNamespace(b).open(b)
	rs := made(node)
	table := mustLoad(b, c, rs)
	pod := &ruleset.Chain{Name: "in/new"}
	add := []change.Op{change.AddChain{Table: table, Chain: pod}}
	for _, r := range rs.Chains["in/7"].Rules {
		add = append(add, change.AddRule{Table: table, Chain: pod.Name, Rule: r})
	}
	one := []ruleset.ElemVerdict{{Elem: elem("192.0.2.1"), Verdict: goTo(pod.Name)}}
	add = append(add, change.AddElems{Table: table, Set: rs.Sets["dispatch"], Elems: one})
	for b.Loop() {
		commit(b, c, add...)
		commit(b, c, change.DelElems{Table: table, Set: rs.Sets["dispatch"], Elems: one})
		commit(b, c, change.DelChain{Table: table, Chain: pod.Name})
	}
}

// BenchmarkSets adds many sets of ten elements in one transaction, and deletes them one by one in another.
func BenchmarkSets(b *testing.B) {
	for _, n := range []int{300, 1000, 3000} {
		rs := made(size{sets: n, elems: 10 * n, rulesPerChain: 1})
		for _, away := range []bool{false, true} {
			b.Run(fmt.Sprintf("%d/delete=%t", n, away), func(b *testing.B) {
				c := newNamespace(b).open(b)
				for b.Loop() {
					b.StopTimer()
					table := randomTable()
					tx, del := load(table, rs), &change.Tx{}
					for name := range rs.Sets {
						if name != "dispatch" {
							del.Add(change.DelSet{Table: table, Set: name})
						}
					}
					if away {
						commit(b, c, tx.Ops...)
						tx = del
					}
					b.StartTimer()
					commit(b, c, tx.Ops...)
					b.StopTimer()
					commit(b, c, change.DelTable{Table: table})
					b.StartTimer()
				}
			})
		}
	}
}
