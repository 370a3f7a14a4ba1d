package property

import (
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/netpol-agent/netpol-agent/internal/compiler"
	"github.com/netpol-agent/netpol-agent/internal/compiler/evaluator"
	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/render/iptables/layout"
	"github.com/netpol-agent/netpol-agent/internal/render/iptables/ruleset"
	"github.com/netpol-agent/netpol-agent/test/clustergen"
	"github.com/netpol-agent/netpol-agent/test/iptfake"
	"github.com/netpol-agent/netpol-agent/test/oracle"
)

// ipNode is one node's agent with the iptables backend, without a kernel.
type ipNode struct {
	node
	layout *layout.Layout
	model  *iptfake.Model
	states map[ruleset.Family]*ruleset.State
}

func newIPNode(name string, addrs []netip.Addr) *ipNode {
	n := &ipNode{
		node: node{name: name, comp: compiler.New(compiler.Options{Node: name})}, layout: layout.New(), model: iptfake.NewModel(),
		states: map[ruleset.Family]*ruleset.State{},
	}
	for _, f := range program.Families() {
		n.states[f] = ruleset.NewState()
	}
	n.comp.SetNodeAddrs(addrs)
	n.comp.SetBridges([]string{clustergen.Bridge})
	return n
}

// commit brings layout and model up to date with what changed, as the renderer does.
func (n *ipNode) commit(t *rapid.T) {
	n.layout.Update(n.comp.Program(), n.comp.TakeDelta())
	for _, f := range program.Families() {
		dirty, want := n.layout.TakeDirty(f), n.layout.Ruleset().Table(f)
		plan := ruleset.Diff(want, n.states[f], dirty)
		install(t, n.model, f, plan)
		n.states[f].Take(want, dirty)
	}
}

func install(t *rapid.T, m *iptfake.Model, f ruleset.Family, plan *ruleset.Plan) {
	for _, step := range []func() error{
		func() error { return m.RestoreSets(plan.Before) },
		func() error { return m.Restore(f, plan.Restore) },
		func() error { return m.RestoreSets(plan.After) },
		func() error { return m.RestoreSets(plan.Destroy) },
	} {
		if err := step(); err != nil {
			t.Fatalf("the kernel would refuse: %v\n%s\n%s\n%s\n%s", err, plan.Before, plan.Restore, plan.After, plan.Destroy)
		}
	}
}

// ipTraced reports whether a node's rules pass a packet, at the hook where that node sees it, and by which steps.
func ipTraced(r *ruleset.Ruleset, p oracle.Packet, nodeAddrs []netip.Addr) (bool, []string) {
	if slices.Contains(nodeAddrs, p.Dst) {
		return true, nil
	}
	local := slices.Contains(nodeAddrs, p.Src)
	entry := ruleset.ChainForward
	if local {
		entry, p.Bridge = ruleset.ChainOutput, ""
	}
	return iptfake.Trace(r.Table(program.FamilyOf(p.Src)), entry, iptfake.Packet{
		Src: p.Src, Dst: p.Dst, Protocol: p.Protocol, DstPort: p.DstPort, ICMPv6Type: p.ICMPv6Type, SYN: true, LocalSource: local,
		Bridge: p.Bridge,
	})
}

// TestPropertyIPTablesAgrees plays a random history on every node, cut into transactions at random, and compares
// oracle, evaluator and trace of the iptables rules at its end.
func TestPropertyIPTablesAgrees(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		h := clustergen.Events().Draw(t, "history")
		var nodes []*ipNode
		for name, addrs := range h.Final.NodeAddrs {
			nodes = append(nodes, newIPNode(name, addrs))
		}
		for _, e := range h.Events {
			together := rapid.IntRange(0, 2).Draw(t, "taken together with the next") == 2
			bridges := drawBridges(t)
			for _, n := range nodes {
				n.comp.SetBridges(bridges)
				n.event(e)
				if !together {
					n.commit(t)
				}
			}
		}
		gen := clustergen.Packet(h.Final)
		for _, n := range nodes {
			n.comp.SetBridges([]string{clustergen.Bridge})
			n.commit(t)
			ipSameAsScratch(t, n, h.Final)
			for range packetsPerCase {
				p := gen.Draw(t, "packet")
				want := oracle.AllowedAt(h.Final, n.name, p)
				res := evaluator.Evaluate(n.comp.Program(), evaluator.Packet(p))
				got, steps := ipTraced(n.layout.Ruleset(), p, h.Final.NodeAddrs[n.name])
				if got != want || (res.Verdict == program.Accept) != want {
					t.Fatalf("node %s, packet %+v: oracle %v, evaluator %v, rules %v:\n%v\n%s", n.name, p, want, res.Verdict, got, steps, n.layout.Ruleset().Text())
				}
			}
		}
	})
}

// ipSameAsScratch checks that rules and installed rules do not depend on history.
func ipSameAsScratch(t *rapid.T, n *ipNode, s oracle.State) {
	want := layout.Render(scratch(s, n.name))
	if d := iptfake.Difference(want, n.layout.Ruleset()); d != "" {
		t.Fatalf("node %s: the rules depend on history:\n%s", n.name, d)
	}
	for _, f := range program.Families() {
		installed, err := n.model.State(f)
		if err != nil {
			t.Fatal(err)
		}
		for what, have := range map[string]*ruleset.State{"installed": installed, "remembered": n.states[f]} {
			if plan := ruleset.Diff(want.Table(f), have, nil); !plan.Empty() {
				t.Fatalf("node %s: what is %s differs from what is desired:\n%s%s%s%s", n.name, what, plan.Before, plan.Restore, plan.After, plan.Destroy)
			}
		}
	}
}

// TestPropertyIPTablesTiers does the same for programs with tiers, which no NetworkPolicy yields yet.
func TestPropertyIPTablesTiers(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := tieredProgram(t)
		rules, m := layout.Render(p), iptfake.NewModel()
		install(t, m, ruleset.V4, ruleset.Diff(rules.V4, ruleset.NewState(), nil))
		for range 20 {
			pkt := packet{
				Src: tierAddr(t, "src"), Dst: tierAddr(t, "dst"),
				Protocol: rapid.SampledFrom([]uint8{program.TCP, program.UDP, program.ICMP}).Draw(t, "protocol"),
				DstPort:  uint16(rapid.IntRange(79, 82).Draw(t, "port")),
			}
			res := evaluator.Evaluate(p, evaluator.Packet(pkt))
			if got, steps := ipTraced(rules, pkt, nil); got != (res.Verdict == program.Accept) {
				t.Fatalf("packet %+v: evaluator %v, rules %v: %v\n%v\n%s", pkt, res.Verdict, got, res.Reasons(), steps, rules.Text())
			}
		}
	})
}
