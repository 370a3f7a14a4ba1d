package kernel

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/netpol-agent/netpol-agent/internal/render/nft/change"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/model"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/ruleset"
	"github.com/netpol-agent/netpol-agent/test/nft/compare"
)

// The parts of random operations. There are few names, so that operations often share one.
var (
	modelBases  = []string{"base", "other"}
	modelChains = []string{"c0", "c1", "c2", "c3"}
	modelSets   = []*ruleset.Set{
		{Name: "plain", Type: ruleset.Addr4},
		{Name: "blocks", Type: ruleset.Addr4, Interval: true},
		{Name: "blocks6", Type: ruleset.Addr6, Interval: true},
		{Name: "pairs", Type: ruleset.Addr6Pair},
		{Name: "web", Type: ruleset.Addr4Port},
		{Name: "pods", Type: ruleset.Addr4, Verdicts: true},
		{Name: "pods2", Type: ruleset.Addr4, Verdicts: true},
		{Name: "pods6", Type: ruleset.Addr6, Verdicts: true},
	}
	modelMatches = map[string]ruleset.Match{
		"plain":   ruleset.InSet{End: ruleset.Src, Family: ruleset.V4, Set: "plain"},
		"blocks":  ruleset.InSet{End: ruleset.Dst, Family: ruleset.V4, Set: "blocks"},
		"blocks6": ruleset.InSet{End: ruleset.Src, Family: ruleset.V6, Set: "blocks6"},
		"pairs":   ruleset.AddrPairInSet{Family: ruleset.V6, Set: "pairs"},
		"web":     ruleset.DstAddrPortInSet{Family: ruleset.V4, Protocol: unix.IPPROTO_SCTP, Set: "web"},
		"pods":    ruleset.AddrVerdict{End: ruleset.Dst, Family: ruleset.V4, Map: "pods"},
		"pods2":   ruleset.AddrVerdict{End: ruleset.Src, Family: ruleset.V4, Map: "pods2"},
		"pods6":   ruleset.AddrVerdict{End: ruleset.Dst, Family: ruleset.V6, Map: "pods6"},
	}
)

// opGen draws operations on one table that may or may not be valid.
type opGen struct {
	t     *rapid.T
	table string
}

func drawn[T any](g opGen, from []T) T { return rapid.SampledFrom(from).Draw(g.t, "one") }

func (g opGen) number(n int) int { return rapid.IntRange(0, n-1).Draw(g.t, "number") }

func (g opGen) chain() string {
	if g.number(5) == 0 {
		return drawn(g, modelBases)
	}
	return drawn(g, modelChains)
}

func (g opGen) op() change.Op {
	set := drawn(g, modelSets)
	switch g.number(16) {
	case 0:
		return g.addChain(g.chain())
	case 1:
		return change.DelChain{Table: g.table, Chain: g.chain()}
	case 2, 3:
		return change.FlushChain{Table: g.table, Chain: g.chain()}
	case 4:
		return change.AddSet{Table: g.table, Set: set}
	case 5:
		return change.DelSet{Table: g.table, Set: set.Name}
	case 6, 7:
		return change.DelElems{Table: g.table, Set: set, Elems: g.elems(set)}
	case 8, 9, 10, 11:
		return change.AddElems{Table: g.table, Set: set, Elems: g.elems(set)}
	}
	return change.AddRule{Table: g.table, Chain: g.chain(), Rule: g.rule(set)}
}

func (g opGen) addChain(name string) change.Op {
	c := &ruleset.Chain{Name: name}
	switch name {
	case "base":
		c.Hook = &ruleset.Hook{Point: ruleset.Forward, Priority: 5}
	case "other":
		c.Hook = &ruleset.Hook{Point: ruleset.Output, Priority: 5}
	}
	return change.AddChain{Table: g.table, Chain: c}
}

func (g opGen) verdict() ruleset.Verdict {
	kind := drawn(g, []ruleset.VerdictKind{
		ruleset.Accept, ruleset.Drop, ruleset.Return, ruleset.Continue,
		ruleset.Jump, ruleset.Goto, ruleset.Jump, ruleset.Goto,
	})
	if kind == ruleset.Jump || kind == ruleset.Goto {
		return ruleset.Verdict{Kind: kind, Chain: g.chain()}
	}
	return ruleset.Verdict{Kind: kind}
}

func (g opGen) rule(set *ruleset.Set) ruleset.Rule {
	switch {
	case g.number(3) == 0:
		return ruleset.Rule{Verdict: g.verdict()}
	case set.Verdicts:
		return ruleset.Rule{Matches: []ruleset.Match{modelMatches[set.Name]}}
	}
	return ruleset.Rule{Matches: []ruleset.Match{modelMatches[set.Name]}, Verdict: g.verdict()}
}

func (g opGen) elems(set *ruleset.Set) []ruleset.ElemVerdict {
	var elems []ruleset.ElemVerdict
	for range 1 + g.number(2) {
		e := ruleset.ElemVerdict{Elem: g.elem(set)}
		if set.Verdicts {
			e.Verdict = g.verdict()
		}
		elems = append(elems, e)
	}
	return elems
}

func (g opGen) elem(set *ruleset.Set) ruleset.Elem {
	v4 := []netip.Addr{netip.MustParseAddr("10.0.0.0"), netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")}
	v6 := []netip.Addr{netip.MustParseAddr("fd00::1"), netip.MustParseAddr("fd00::2")}
	switch {
	case set.Interval && set.Type == ruleset.Addr4:
		return g.interval("0.0.0.0", "10.0.0.0", "255.255.255.248")
	case set.Interval:
		return g.interval("::", "fd00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fff8")
	}
	switch set.Type {
	case ruleset.Addr6Pair:
		return ruleset.Elem{A: drawn(g, v6), B: drawn(g, v6)}
	case ruleset.Addr4Port:
		return ruleset.Elem{A: drawn(g, v4), Port: 80}
	case ruleset.Addr6:
		return ruleset.Elem{A: drawn(g, v6)}
	}
	return ruleset.Elem{A: drawn(g, v4)}
}

// interval draws addresses from one of three ranges: at the lowest address, in the middle, at the highest.
func (g opGen) interval(bases ...string) ruleset.Elem {
	base := netip.MustParseAddr(drawn(g, bases))
	first := g.number(8)
	last := first + g.number(8-first)
	return ruleset.Elem{A: addrPlus(base, first), B: addrPlus(base, last)}
}

func addrPlus(a netip.Addr, n int) netip.Addr {
	for range n {
		a = a.Next()
	}
	return a
}

// stage adds all chains and sets.
func (g opGen) stage() *change.Tx {
	tx := &change.Tx{}
	tx.Add(change.AddTable{Table: g.table})
	for _, name := range append(append([]string{}, modelBases...), modelChains...) {
		tx.Add(g.addChain(name))
	}
	for _, set := range modelSets {
		tx.Add(change.AddSet{Table: g.table, Set: set})
	}
	return tx
}

// The Model accepts what the kernel accepts, with the same outcome, and refuses what the kernel refuses, with the same
// error at the same operation. What the Model refuses as a mistake is not sent to the kernel.
func TestModelIsAsTheKernel(t *testing.T) {
	ns := newNamespace(t)
	conn := ns.open(t)
	accepted, refused := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		g := opGen{t: t, table: randomTable()}
		m := model.New()
		if err := errors.Join(m.Apply(g.stage()), conn.Commit(g.stage())); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := conn.Commit(&change.Tx{Ops: []change.Op{change.DelTable{Table: g.table}}}); err != nil {
				t.Errorf("remove the table: %v", err)
			}
		}()
		for range 15 {
			tx := &change.Tx{}
			for range 1 + g.number(3) {
				tx.Add(g.op())
			}
			byModel := m.Apply(tx)
			var refusal *model.RefusalError
			if errors.As(byModel, &refusal) && refusal.Errno == 0 {
				continue
			}
			byKernel := conn.Commit(tx)
			if byModel == nil && byKernel == nil {
				accepted++
				continue
			}
			refused++
			if err := sameRefusal(tx, refusal, byKernel); err != nil {
				t.Fatalf("%v\nby the Model: %v\nby the kernel: %v\ntransaction:\n%son\n%s", err, byModel, byKernel, tx, m.Tables[g.table].Text("t"))
			}
		}
		got, found, err := conn.Read(g.table)
		if err != nil || !found {
			t.Fatalf("read: found %t, %v", found, err)
		}
		if d := compare.Difference(m.Tables[g.table], got); d != "" {
			t.Fatalf("the kernel (+) and the Model (-) differ:\n%s", d)
		}
	})
	if accepted < 10 || refused < 10 {
		t.Errorf("%d transactions accepted, %d refused: the test proves nothing", accepted, refused)
	}
}

func sameRefusal(tx *change.Tx, refusal *model.RefusalError, byKernel error) error {
	if refusal == nil || byKernel == nil {
		return errors.New("only one refuses")
	}
	if errors.Is(byKernel, ErrUnknown) {
		return errors.New("outcome unknown")
	}
	if !errors.Is(byKernel, refusal.Errno) {
		return errors.New("different errors")
	}
	if refusal.Op >= 0 {
		want := fmt.Sprintf("commit: %s: ", change.Summary(tx.Ops[refusal.Op]))
		if got := byKernel.Error(); len(got) < len(want) || got[:len(want)] != want {
			return errors.New("different operations")
		}
	}
	return nil
}
