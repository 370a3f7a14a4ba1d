package kernel

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/netpol-agent/netpol-agent/internal/render/nft/change"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/ruleset"
	"github.com/netpol-agent/netpol-agent/test/nft/compare"
)

// size is the size of a generated ruleset.
type size struct{ chains, rulesPerChain, sets, elems int }

// node is what a well-filled node needs.
var node = size{chains: 500, rulesPerChain: 5, sets: 200, elems: 20000}

func nth4(n int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})
}

// made returns a ruleset of a size in the shape of a real one: a base chain whose maps lead to one chain per pod, rules
// with ports and peer sets, and some sets of blocks among those of addresses.
func made(z size) *ruleset.Ruleset {
	rs := ruleset.New()
	dispatch := &ruleset.Set{Name: "dispatch", Verdicts: true, Elems: map[ruleset.Elem]ruleset.Verdict{}}
	rs.Sets[dispatch.Name] = dispatch
	for k := range z.sets {
		s := &ruleset.Set{Name: fmt.Sprintf("peers/%d", k), Comment: "a selector", Interval: k%10 == 9,
			Elems: map[ruleset.Elem]ruleset.Verdict{}}
		for j := range z.elems / z.sets {
			e := ruleset.Elem{A: nth4(k + j*2*z.sets)}
			if s.Interval {
				e.B = e.A
			}
			s.Elems[e] = ruleset.Verdict{}
		}
		rs.Sets[s.Name] = s
	}
	for k := range z.chains {
		ch := &ruleset.Chain{Name: fmt.Sprintf("in/%d", k), Comment: "a combination of policies"}
		for j := range z.rulesPerChain - 1 {
			ch.Rules = append(ch.Rules, rule(accept(), fmt.Sprintf("namespace/policy-%d ingress %d", k, j),
				ruleset.DstPort{Protocol: 6, First: uint16(8000 + j), Last: uint16(8000 + j)},
				ruleset.InSet{Family: ruleset.V4, Set: fmt.Sprintf("peers/%d", (k+j)%z.sets)}))
		}
		ch.Rules = append(ch.Rules, rule(drop(), ""))
		rs.Chains[ch.Name] = ch
		dispatch.Elems[ruleset.Elem{A: nth4(k)}] = goTo(ch.Name)
	}
	rs.Chains["forward"] = &ruleset.Chain{Name: "forward", Hook: &ruleset.Hook{}, Rules: []ruleset.Rule{
		rule(accept(), "", ruleset.CtEstablished{}),
		rule(ruleset.Verdict{}, "", ruleset.AddrVerdict{End: ruleset.Dst, Family: ruleset.V4, Map: "dispatch"}),
	}}
	return rs
}

// TestLargeTable loads 10,000 chains, 30,000 rules and 100,000 elements in one transaction and reads them back.
func TestLargeTable(t *testing.T) {
	if testing.Short() || raceEnabled {
		t.Skip("takes seconds")
	}
	c := newNamespace(t).open(t)
	rs := made(size{chains: 10000, rulesPerChain: 3, sets: 100, elems: 100000})
	table := randomTable()
	tx := load(table, rs)
	start := time.Now()
	commit(t, c, tx.Ops...)
	loaded := time.Since(start)
	start = time.Now()
	got := mustRead(t, c, table)
	read := time.Since(start)
	if d := compare.Difference(rs, got); d != "" {
		t.Errorf("read differs:\n%.2000s", d)
	}
	start = time.Now()
	commit(t, c, change.DelTable{Table: table})
	t.Logf("loaded in %v, read in %v, deleted in %v", loaded, read, time.Since(start))
}

// TestLargeSets checks that no element is lost in a set that needs several messages.
func TestLargeSets(t *testing.T) {
	c := newNamespace(t).open(t)
	rs := ruleset.New()
	rs.Chains["web"] = &ruleset.Chain{Name: "web"}
	long := strings.Repeat("c", ruleset.MaxName)
	rs.Chains[long] = &ruleset.Chain{Name: long}
	add := func(s *ruleset.Set, elem func(k int) ruleset.Elem, v ruleset.Verdict) {
		s.Elems = map[ruleset.Elem]ruleset.Verdict{}
		for k := range 10000 {
			s.Elems[elem(k)] = v
		}
		rs.Sets[s.Name] = s
	}
	single := func(k int) ruleset.Elem { return ruleset.Elem{A: nth4(k)} }
	v6 := func(k int) netip.Addr { return netip.AddrFrom16([16]byte{0xfd, 14: byte(k >> 8), 15: byte(k)}) }
	add(&ruleset.Set{Name: "plain"}, single, ruleset.Verdict{})
	add(&ruleset.Set{Name: "map", Verdicts: true}, single, goTo("web"))
	add(&ruleset.Set{Name: "long", Verdicts: true}, single, jump(long))
	add(&ruleset.Set{Name: "pairs", Type: ruleset.Addr6Pair}, func(k int) ruleset.Elem {
		return ruleset.Elem{A: v6(k), B: v6(k + 1)}
	}, ruleset.Verdict{})
	add(&ruleset.Set{Name: "blocks", Interval: true}, func(k int) ruleset.Elem {
		return ruleset.Elem{A: nth4(4 * k), B: nth4(4*k + k%3)}
	}, ruleset.Verdict{})
	table := mustLoad(t, c, rs)
	if d := compare.Difference(rs, mustRead(t, c, table)); d != "" {
		t.Errorf("%.2000s", d)
	}
	// Half of each is removed and added back.
	half := &change.Tx{}
	for _, s := range sortedSets(rs) {
		var elems []ruleset.ElemVerdict
		for k, e := range s.Sorted() {
			if k%2 == 0 {
				elems = append(elems, e)
			}
		}
		commit(t, c, change.DelElems{Table: table, Set: s, Elems: elems})
		half.Add(change.AddElems{Table: table, Set: s, Elems: elems})
	}
	n := 0
	for _, s := range mustRead(t, c, table).Sets {
		n += len(s.Elems)
	}
	if n != 25000 {
		t.Errorf("%d elements left", n)
	}
	commit(t, c, half.Ops...)
	if d := compare.Difference(rs, mustRead(t, c, table)); d != "" {
		t.Errorf("%.2000s", d)
	}
}

// TestParallelUse uses one connection from several goroutines.
func TestParallelUse(t *testing.T) {
	c := newNamespace(t).open(t)
	rs := sample()
	table := mustLoad(t, c, rs)
	var wg sync.WaitGroup
	for k := range 4 {
		wg.Go(func() {
			for j := range 25 {
				ch := &ruleset.Chain{Name: fmt.Sprintf("c/%d", k)}
				add := change.AddChain{Table: table, Chain: ch}
				if err := c.Commit(&change.Tx{Ops: []change.Op{add}}); err != nil {
					t.Error(err)
				}
				if _, found, err := c.Read(table); !found || err != nil {
					t.Errorf("read %d: %t %v", j, found, err)
				}
				del := change.DelChain{Table: table, Chain: ch.Name}
				if err := c.Commit(&change.Tx{Ops: []change.Op{del}}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if d := compare.Difference(rs, mustRead(t, c, table)); d != "" {
		t.Error(d)
	}
}

// TestGeneration checks that each transaction increments the generation, and that nothing else does.
func TestGeneration(t *testing.T) {
	c := newNamespace(t).open(t)
	before := generation(t, c)
	table := mustLoad(t, c, sample())
	after := generation(t, c)
	mustRead(t, c, table)
	if after == before || generation(t, c) != after {
		t.Errorf("generations %d, %d, %d", before, after, generation(t, c))
	}
}

func generation(tb testing.TB, c *Conn) uint32 {
	tb.Helper()
	g, err := c.Generation()
	if err != nil {
		tb.Fatal(err)
	}
	return g
}

// TestReadDuringResize reads a set again and again right after it was filled or emptied, while the kernel resizes its
// hash table.
func TestReadDuringResize(t *testing.T) {
	c := newNamespace(t).open(t)
	rs := ruleset.New()
	s := &ruleset.Set{Name: "plain", Elems: map[ruleset.Elem]ruleset.Verdict{}}
	rs.Sets[s.Name] = s
	var most []ruleset.ElemVerdict
	for k := range 10000 {
		e := ruleset.Elem{A: nth4(k)}
		s.Elems[e] = ruleset.Verdict{}
		if k%20 != 0 {
			most = append(most, ruleset.ElemVerdict{Elem: e})
		}
	}
	table := mustLoad(t, c, rs)
	rest := compare.Clone(rs)
	for _, e := range most {
		delete(rest.Sets[s.Name].Elems, e.Elem)
	}
	for range 40 {
		commit(t, c, change.DelElems{Table: table, Set: s, Elems: most})
		for range 3 {
			if d := compare.Difference(rest, mustRead(t, c, table)); d != "" {
				t.Fatalf("after removing: %.2000s", d)
			}
		}
		commit(t, c, change.AddElems{Table: table, Set: s, Elems: most})
		for range 3 {
			if d := compare.Difference(rs, mustRead(t, c, table)); d != "" {
				t.Fatalf("after adding: %.2000s", d)
			}
		}
	}
}
