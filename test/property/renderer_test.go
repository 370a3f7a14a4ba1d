package property

import (
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/netpol-agent/netpol-agent/internal/compiler"
	"github.com/netpol-agent/netpol-agent/internal/render/nft"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/change"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/model"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/ruleset"
	"github.com/netpol-agent/netpol-agent/test/clustergen"
	"github.com/netpol-agent/netpol-agent/test/nft/compare"
)

// fakeKernel is a model of the kernel that fails on command.
type fakeKernel struct {
	model      *model.Model
	generation uint32
	// refuse fails the next commit without an effect; lose fails it although it took effect.
	refuse, lose bool
	commits      []*change.Tx
}

func newFakeKernel() *fakeKernel { return &fakeKernel{model: model.New()} }

func (k *fakeKernel) Commit(tx *change.Tx) error {
	if k.refuse {
		k.refuse = false
		return errors.New("refused by the test")
	}
	if err := k.model.Apply(tx); err != nil {
		return err
	}
	k.generation++
	k.commits = append(k.commits, tx)
	if k.lose {
		k.lose = false
		return errors.New("answer lost by the test")
	}
	return nil
}

func (k *fakeKernel) Read(table string) (*ruleset.Ruleset, bool, error) {
	rs, ok := k.model.Tables[table]
	if !ok {
		return nil, false, nil
	}
	return compare.Clone(rs), true, nil
}

func (k *fakeKernel) Generation() (uint32, error) { return k.generation, nil }

// vandal changes our table behind the renderer's back.
func (k *fakeKernel) vandal(t *rapid.T, table string) {
	rs := k.model.Tables[table]
	if rs == nil {
		return
	}
	tx := &change.Tx{}
	switch rapid.IntRange(0, 2).Draw(t, "vandalism") {
	case 0:
		tx.Add(change.DelTable{Table: table})
	case 1:
		for name := range rs.Chains {
			tx.Add(change.FlushChain{Table: table, Chain: name})
		}
	case 2:
		tx.Add(change.AddChain{Table: table, Chain: &ruleset.Chain{Name: "stranger"}})
	}
	if k.model.Apply(tx) == nil {
		k.generation++
	}
}

// TestPropertyRendererRecovers plays random events while the kernel fails and strangers interfere, restarts
// the renderer at random, and expects the kernel to be right as soon as a call succeeds.
func TestPropertyRendererRecovers(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		h := clustergen.Events().Draw(t, "history")
		n := &node{name: "n1", comp: compiler.New(compiler.Options{Node: "n1"})}
		k := newFakeKernel()
		opts := nft.Options{MaxCost: rapid.IntRange(5, 60).Draw(t, "largest transaction")}
		r := nft.New(k, opts)
		for _, e := range h.Events {
			n.event(e)
			switch rapid.IntRange(0, 9).Draw(t, "accident") {
			case 9:
				k.refuse = true
			case 8:
				k.lose = true
			case 7:
				r = nft.New(k, opts) // the agent restarts
			case 6:
				k.vandal(t, r.Table())
			}
			step(t, n, k, r)
		}
	})
}

func step(t *rapid.T, n *node, k *fakeKernel, r *nft.Renderer) {
	_, err := r.Apply(n.comp.Program(), n.comp.TakeDelta())
	if drifted, _ := r.Drifted(); err == nil && drifted {
		_, err = r.Sync(n.comp.Program())
	}
	k.refuse, k.lose = false, false
	if err != nil {
		if _, err = r.Apply(n.comp.Program(), n.comp.TakeDelta()); err != nil {
			t.Fatalf("no recovery: %v", err)
		}
	}
	if len(k.model.Tables) != 1 {
		t.Fatalf("%d tables are left", len(k.model.Tables))
	}
	if d := compare.Difference(nft.Render(n.comp.Program()), k.model.Tables[r.Table()]); d != "" {
		t.Fatalf("the kernel differs:\n%s", d)
	}
}

// TestPropertySwapHasNoWindow changes everything at once, so that one table replaces another, and traces packets
// after each transaction: each must get the old or the new verdict, with nothing in between.
func TestPropertySwapHasNoWindow(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		before := clustergen.State().Draw(t, "before")
		after := clustergen.State().Draw(t, "after")
		k := newFakeKernel()
		if _, err := nft.New(k, nft.Options{}).Sync(scratch(before, "n1")); err != nil {
			t.Fatal(err)
		}
		k.commits = nil
		was := compare.Clone(k.model.Tables["netpol-agent"])
		r := nft.New(k, nft.Options{MaxCost: rapid.IntRange(2, 40).Draw(t, "largest transaction")})
		replay := model.New()
		if err := replay.Load("netpol-agent", was); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Sync(scratch(after, "n1")); err != nil {
			t.Fatal(err)
		}
		is := k.model.Tables[r.Table()]
		switched := false
		for _, tx := range k.commits {
			if err := replay.Apply(tx); err != nil {
				t.Fatal(err)
			}
			switched = oldOrNew(t, replay, was, is, clustergen.PacketsFromSeed(after, 1, 20), switched)
		}
	})
}

// oldOrNew checks that all packets see the old rules or all see the new ones, and after that never the old ones again.
func oldOrNew(t *rapid.T, m *model.Model, was, is *ruleset.Ruleset, packets []packet, switched bool) bool {
	allOld, allNew := true, true
	for _, p := range packets {
		pass := true
		for _, rs := range m.Tables {
			ok, _ := traced(rs, p, nil)
			pass = pass && ok
		}
		old, _ := traced(was, p, nil)
		next, _ := traced(is, p, nil)
		allOld, allNew = allOld && pass == old, allNew && pass == next
	}
	if !allNew && (switched || !allOld) {
		t.Fatalf("packets see a mixture of the old and the new rules, or the old ones again")
	}
	return !allOld
}
