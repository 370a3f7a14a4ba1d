package property

import (
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/netpol-agent/netpol-agent/internal/compiler"
	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/render/iptables"
	"github.com/netpol-agent/netpol-agent/internal/render/iptables/ruleset"
	"github.com/netpol-agent/netpol-agent/test/clustergen"
	"github.com/netpol-agent/netpol-agent/test/iptfake"
)

// fakeTools is a model of the kernel. Its writes fail from a given one on, as if the process were killed, and a
// witness sees every state.
type fakeTools struct {
	*iptfake.Model
	// left is how many writes still succeed; if negative, all do.
	left    int
	witness func()
}

var errKilled = errors.New("killed by the test")

func (k *fakeTools) write(f func() error) error {
	if k.left == 0 {
		return errKilled
	}
	k.left--
	err := f()
	if err == nil && k.witness != nil {
		k.witness()
	}
	return err
}

func (k *fakeTools) Restore(f ruleset.Family, script string) error {
	return k.write(func() error { return k.Model.Restore(f, script) })
}

// RestoreSets takes effect line by line, so the process can be killed between any two lines.
func (k *fakeTools) RestoreSets(script string) error {
	for line := range strings.Lines(script) {
		if err := k.write(func() error { return k.Model.RestoreSets(line) }); err != nil {
			return err
		}
	}
	return nil
}

// vandal changes rules and sets behind the renderer's back.
func (k *fakeTools) vandal(t *rapid.T) {
	f := rapid.SampledFrom([]ruleset.Family{ruleset.V4, ruleset.V6}).Draw(t, "family")
	if rapid.IntRange(0, 3).Draw(t, "of sets") == 0 {
		_ = k.Model.RestoreSets("create NETPOL-STRANGER hash:ip family inet\nadd NETPOL-STRANGER 10.0.0.1\n")
		return
	}
	script := rapid.SampledFrom([]string{
		"-I FORWARD 1 -j ACCEPT", ":FORWARD - [0:0]\n:OUTPUT - [0:0]", ":NETPOL-DENIED - [0:0]", ":NETPOL-STRANGER - [0:0]",
		"-A FORWARD -j NETPOL-FORWARD", "-I NETPOL-INGRESS 1 -j ACCEPT",
	}).Draw(t, "vandalism")
	_ = k.Model.Restore(f, "*filter\n"+script+"\nCOMMIT\n") // refused if the chain is not there
}

// TestPropertyIPTablesRecovers plays random events while the process is killed between any two of its steps and
// strangers interfere, and expects the kernel to be right, with nothing left over, as soon as a call succeeds.
func TestPropertyIPTablesRecovers(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		h := clustergen.Events().Draw(t, "history")
		n := &node{name: "n1", comp: compiler.New(compiler.Options{Node: "n1"})}
		k := &fakeTools{Model: iptfake.NewModel(), left: -1}
		opts := iptables.Options{FullCheck: 1}
		r := iptables.New(k, opts)
		for _, e := range h.Events {
			n.event(e)
			restart := false
			switch rapid.IntRange(0, 9).Draw(t, "accident") {
			case 9:
				k.left = rapid.IntRange(0, 12).Draw(t, "writes before it is killed")
				restart = rapid.Bool().Draw(t, "and does not come back")
			case 8:
				k.vandal(t)
			case 7:
				r = iptables.New(k, opts)
			}
			ipStep(t, n, k, r, restart)
			if restart {
				r = iptables.New(k, opts)
			}
		}
	})
}

func ipStep(t *rapid.T, n *node, k *fakeTools, r *iptables.Renderer, restart bool) {
	stats, err := r.Apply(n.comp.Program(), n.comp.TakeDelta())
	if drifted, _ := r.Drifted(); err == nil && drifted {
		stats, err = r.Sync(n.comp.Program())
	}
	k.left = -1
	if err != nil && restart {
		r = iptables.New(k, iptables.Options{})
	}
	if err == nil && stats.Left != nil { // unused sets are reported, and the next full comparison removes them
		stats, err = r.Sync(n.comp.Program())
		if err != nil || stats.Left != nil {
			t.Fatalf("sets are left: %v, error %v", stats.Left, err)
		}
	}
	if err != nil {
		if _, err = r.Apply(n.comp.Program(), n.comp.TakeDelta()); err != nil {
			t.Fatalf("no recovery: %v", err)
		}
	}
	want := iptables.Render(n.comp.Program())
	for _, f := range program.Families() {
		have, err := k.State(f)
		if err != nil {
			t.Fatal(err)
		}
		if p := ruleset.Diff(want.Table(f), have, nil); !p.Empty() {
			t.Fatalf("the kernel differs:\n%s%s%s%s", p.Before, p.Restore, p.After, p.Destroy)
		}
	}
}

// TestPropertyIPTablesNeverOpens changes everything at once and traces packets after each step of the change: a
// packet that both the old and the new rules deny must never pass.
func TestPropertyIPTablesNeverOpens(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		before := clustergen.State().Draw(t, "before")
		after := clustergen.State().Draw(t, "after")
		k := &fakeTools{Model: iptfake.NewModel(), left: -1}
		r := iptables.New(k, iptables.Options{})
		if _, err := r.Sync(scratch(before, "n1")); err != nil {
			t.Fatal(err)
		}
		was, is := iptables.Render(scratch(before, "n1")), iptables.Render(scratch(after, "n1"))
		packets := append(clustergen.PacketsFromSeed(after, 1, 15), clustergen.PacketsFromSeed(before, 2, 15)...)
		k.witness = func() {
			now := &ruleset.Ruleset{V4: installedTable(t, k.Model, ruleset.V4), V6: installedTable(t, k.Model, ruleset.V6)}
			for _, p := range packets {
				old, _ := ipTraced(was, p, nil)
				next, _ := ipTraced(is, p, nil)
				if pass, steps := ipTraced(now, p, nil); pass && !old && !next {
					t.Fatalf("packet %+v passes in between:\n%v\n%s", p, steps, now.Text())
				}
			}
		}
		if _, err := iptables.New(k, iptables.Options{}).Sync(scratch(after, "n1")); err != nil {
			t.Fatal(err)
		}
	})
}

func installedTable(t *rapid.T, m *iptfake.Model, f ruleset.Family) *ruleset.Table {
	table, err := m.Table(f)
	if err != nil {
		t.Fatal(err)
	}
	return table
}
