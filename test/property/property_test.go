// Package property holds the tests that compare the independent readings of the policies: oracle, evaluator and
// the trace of the rendered ruleset must give every packet the same verdict, and handling event by event must lead
// to the same result as a start from scratch.
//
// -rapid.checks sets the number of cases.
package property

import (
	"fmt"
	"net/netip"
	"reflect"
	"testing"

	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"github.com/netpol-agent/netpol-agent/internal/compiler"
	"github.com/netpol-agent/netpol-agent/internal/compiler/evaluator"
	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/change"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/layout"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/model"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/ruleset"
	"github.com/netpol-agent/netpol-agent/test/clustergen"
	"github.com/netpol-agent/netpol-agent/test/nft/compare"
	"github.com/netpol-agent/netpol-agent/test/nft/trace"
	"github.com/netpol-agent/netpol-agent/test/oracle"
)

const (
	table          = "netpol-agent"
	packetsPerCase = 40
)

// packet is a shorter name.
type packet = oracle.Packet

// node is one node's agent without a kernel: compiler, layout and a model of what is installed.
type node struct {
	name   string
	comp   *compiler.Compiler
	layout *layout.Layout
	model  *model.Model
}

func newNode(t *rapid.T, name string, addrs []netip.Addr) *node {
	n := &node{name: name, comp: compiler.New(compiler.Options{Node: name}), layout: layout.New(), model: model.New()}
	n.comp.SetNodeAddrs(addrs)
	n.comp.SetBridges([]string{clustergen.Bridge})
	if err := n.model.Apply(&change.Tx{Ops: []change.Op{change.AddTable{Table: table}}}); err != nil {
		t.Fatal(err)
	}
	return n
}

func (n *node) event(e clustergen.Event) {
	switch {
	case e.Pod != nil && e.Delete:
		n.comp.DeletePod(types.NamespacedName{Namespace: e.Pod.Namespace, Name: e.Pod.Name})
	case e.Pod != nil:
		n.comp.SetPod(e.Pod)
	case e.Namespace != nil && e.Delete:
		n.comp.DeleteNamespace(e.Namespace.Name)
	case e.Namespace != nil:
		n.comp.SetNamespace(e.Namespace)
	case e.Delete:
		n.comp.DeletePolicy(types.NamespacedName{Namespace: e.Policy.Namespace, Name: e.Policy.Name})
	default:
		n.comp.SetPolicy(e.Policy)
	}
}

// commit brings layout and model up to date, as one transaction of the agent does, and prunes.
func (n *node) commit(t *rapid.T) {
	n.layout.Update(n.comp.Program(), n.comp.TakeDelta())
	update, prune := change.Diff(table, n.model.Tables[table], n.layout.Ruleset(), n.layout.TakeDirty())
	for _, tx := range []*change.Tx{update, prune} {
		if err := n.model.Apply(tx); err != nil {
			t.Fatalf("node %s: the kernel would refuse: %v\n%s", n.name, err, tx)
		}
	}
}

// scratch compiles a state without history.
func scratch(s oracle.State, name string) *program.Program {
	c := compiler.New(compiler.Options{Node: name})
	c.SetNodeAddrs(s.NodeAddrs[name])
	c.SetBridges([]string{clustergen.Bridge})
	for _, p := range s.Policies {
		c.SetPolicy(p)
	}
	for _, ns := range s.Namespaces {
		c.SetNamespace(ns)
	}
	for _, p := range s.Pods {
		c.SetPod(p)
	}
	return c.Program()
}

// traced reports whether a node's rules pass a packet, at the hook where that node sees it, and by which steps.
// Packets to the node itself take the input hook, where there is no rule.
func traced(r *ruleset.Ruleset, p oracle.Packet, nodeAddrs []netip.Addr) (bool, []trace.Step) {
	from, to := false, false
	for _, a := range nodeAddrs {
		from, to = from || a == p.Src, to || a == p.Dst
	}
	if to {
		return true, nil
	}
	hook := ruleset.Forward
	if from {
		hook, p.Bridge = ruleset.Output, ""
	}
	v, steps := trace.Trace(r, hook, trace.Packet{
		Src: p.Src, Dst: p.Dst, Protocol: p.Protocol, DstPort: p.DstPort, ICMPType: p.ICMPv6Type, SYN: true, LocalSource: from,
		Bridge: p.Bridge,
	})
	return v.Kind == ruleset.Accept, steps
}

// agree compares the three readings on random packets.
func agree(t *rapid.T, s oracle.State, nodes []*node) {
	gen := clustergen.Packet(s)
	for range packetsPerCase {
		p := gen.Draw(t, "packet")
		for _, n := range nodes {
			want := oracle.AllowedAt(s, n.name, p)
			res := evaluator.Evaluate(n.comp.Program(), evaluator.Packet(p))
			if got := res.Verdict == program.Accept; got != want {
				t.Fatalf("node %s, packet %+v: oracle %v, evaluator %v:\n%v", n.name, p, want, got, res.Reasons())
			}
			if got, steps := traced(n.model.Tables[table], p, s.NodeAddrs[n.name]); got != want {
				t.Fatalf("node %s, packet %+v: oracle %v, rules %v:\n%v\n%s", n.name, p, want, got, steps, n.model.Tables[table].Text(table))
			}
		}
	}
}

// TestPropertyReadingsAgree plays a random history on every node, cut into transactions at random, and
// compares all readings at its end.
func TestPropertyReadingsAgree(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		h := clustergen.Events().Draw(t, "history")
		var nodes []*node
		for name, addrs := range h.Final.NodeAddrs {
			nodes = append(nodes, newNode(t, name, addrs))
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
		for _, n := range nodes {
			n.comp.SetBridges([]string{clustergen.Bridge})
			n.commit(t)
			sameAsScratch(t, n, h.Final)
		}
		agree(t, h.Final, nodes)
	})
}

// drawBridges returns what the agent may know about its pods' bridges on the way to a state.
func drawBridges(t *rapid.T) []string {
	return rapid.SampledFrom([][]string{nil, {clustergen.Bridge}, {clustergen.Bridge}, {"cni1", clustergen.Bridge}}).Draw(t, "bridges")
}

func sameAsScratch(t *rapid.T, n *node, s oracle.State) {
	want := scratch(s, n.name)
	if got := n.comp.Program(); !reflect.DeepEqual(got, want) {
		t.Fatalf("node %s: the program depends on history:\n%s", n.name, programDifference(got, want))
	}
	if d := compare.Difference(layout.Render(want), n.layout.Ruleset()); d != "" {
		t.Fatalf("node %s: the ruleset depends on history:\n%s", n.name, d)
	}
	if d := compare.Difference(layout.Render(want), n.model.Tables[table]); d != "" {
		t.Fatalf("node %s: what is installed differs from what is desired:\n%s", n.name, d)
	}
}

func programDifference(got, want *program.Program) string {
	return fmt.Sprintf("got  %s\nwant %s", programText(got), programText(want))
}
