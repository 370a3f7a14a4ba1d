package kernel

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"github.com/netpol-agent/netpol-agent/internal/compiler"
	"github.com/netpol-agent/netpol-agent/internal/compiler/evaluator"
	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/test/clustergen"
	"github.com/netpol-agent/netpol-agent/test/kernel/lab"
	"github.com/netpol-agent/netpol-agent/test/oracle"
)

// TestMain lets the environment set the number of random cases, which rapid reads only from a flag.
func TestMain(m *testing.M) {
	flag.Parse()
	n := os.Getenv("KERNEL_CASES")
	if n == "" && os.Getenv("CI") == "true" {
		n = "500"
	}
	if n != "" {
		if err := flag.Set("rapid.checks", n); err != nil {
			fmt.Fprintln(os.Stderr, "KERNEL_CASES:", err)
			os.Exit(2)
		}
	}
	os.Exit(m.Run())
}

// randomNode is the node of the generated clusters whose rules the kernel has, and its addresses.
const randomNode = "n1"

var (
	randomPods   = prefixes("10.0.0.101/24", "fd00::1:1/64")
	randomUplink = prefixes("192.168.0.1/24", "fd00:ff::1/64")
)

func prefixes(texts ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(texts))
	for i, s := range texts {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

const (
	packetsPerBatch = 20
	batchesPerCase  = 3
)

// shooting is one random history on one kernel.
type shooting struct {
	*lab.Range
	comp     *compiler.Compiler
	backend  backend
	renderer renderer
	ids      uint16
	// denied are all packets that must not pass, not even late.
	denied map[lab.Key]oracle.Packet
}

// TestKernelPropertyVerdicts plays random events, loads the resulting rules step by step, and shoots random packets
// through them. The kernel, the oracle and the evaluator must agree on each packet.
func TestKernelPropertyVerdicts(t *testing.T) {
	r := lab.NewRange(t, randomPods, randomUplink)
	b := openBackend(t, r.Node)
	passed, dropped := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		h := randomHistory(rt)
		// A new renderer adopts the previous case's table, or replaces it with its own.
		s := &shooting{Range: r, comp: compiler.New(compiler.Options{Node: randomNode}), denied: map[lab.Key]oracle.Packet{},
			backend: b, renderer: b.renderer(rapid.SampledFrom([]int{0, 2, 30}).Draw(rt, "largest transaction"))}
		s.comp.SetNodeAddrs(h.Final.NodeAddrs[randomNode])
		r.Witness.Reset()
		next := 0
		for batch := range batchesPerCase {
			for until := len(h.Events) * (batch + 1) / batchesPerCase; next < until; next++ {
				s.event(h.Events[next])
				if rapid.IntRange(0, 2).Draw(rt, "taken together with the next") < 2 {
					s.commit(rt)
				}
			}
			s.commit(rt)
			pass, drop := s.shoot(rt, h.After(next))
			passed, dropped = passed+pass, dropped+drop
		}
		s.lateComers(rt)
	})
	t.Logf("%d packets passed, %d were dropped", passed, dropped)
	if passed == 0 || dropped == 0 {
		t.Error("the packets prove nothing")
	}
}

// randomHistory returns events that lead to any cluster, mostly to one in which much is isolated, and mostly with all
// of its pods on the node under test.
func randomHistory(t *rapid.T) clustergen.History {
	var h clustergen.History
	if rapid.IntRange(0, 3).Draw(t, "kind of history") == 0 {
		h = clustergen.Events().Draw(t, "history")
	} else {
		h = clustergen.Orders(clustergen.State().Draw(t, "state")).Draw(t, "history")
	}
	if rapid.IntRange(0, 2).Draw(t, "nodes") > 0 {
		for _, e := range h.Events {
			if e.Pod != nil {
				e.Pod.Spec.NodeName = randomNode
			}
		}
	}
	h.Final.NodeAddrs[randomNode] = nil
	for _, p := range append(append([]netip.Prefix{}, randomPods...), randomUplink...) {
		h.Final.NodeAddrs[randomNode] = append(h.Final.NodeAddrs[randomNode], p.Addr())
	}
	return h
}

func (s *shooting) event(e clustergen.Event) {
	switch {
	case e.Pod != nil && e.Delete:
		s.comp.DeletePod(types.NamespacedName{Namespace: e.Pod.Namespace, Name: e.Pod.Name})
	case e.Pod != nil:
		s.comp.SetPod(e.Pod)
	case e.Namespace != nil && e.Delete:
		s.comp.DeleteNamespace(e.Namespace.Name)
	case e.Namespace != nil:
		s.comp.SetNamespace(e.Namespace)
	case e.Delete:
		s.comp.DeletePolicy(types.NamespacedName{Namespace: e.Policy.Namespace, Name: e.Policy.Name})
	default:
		s.comp.SetPolicy(e.Policy)
	}
}

func (s *shooting) commit(t *rapid.T) {
	if _, err := s.renderer.Apply(s.comp.Program(), s.comp.TakeDelta()); err != nil {
		t.Fatal(err)
	}
}

// shoot sends one batch of packets and compares what happens to them with the other readings.
func (s *shooting) shoot(t *rapid.T, st oracle.State) (passed, dropped int) {
	want := map[lab.Key]oracle.Packet{}
	pairs := map[string]bool{}
	s.FlushConntrack()
	gen := clustergen.Packet(st)
	for range packetsPerBatch {
		p := gen.Draw(t, "packet")
		shot, ok := s.shot(p, pairs)
		if !ok {
			continue
		}
		pass := oracle.AllowedAt(st, randomNode, p)
		res := evaluator.Evaluate(s.comp.Program(), evaluator.Packet(p))
		if (res.Verdict == program.Accept) != pass {
			t.Fatalf("packet %+v: oracle %t, but the evaluator disagrees:\n%v", p, pass, res.Reasons())
		}
		if err := s.Shoot(shot); err != nil && (pass || !errors.Is(err, unix.EPERM)) {
			t.Fatalf("packet %+v: %v", p, err)
		}
		want[shot.Key()] = p
		if pass {
			passed++
		} else {
			dropped++
			s.denied[shot.Key()] = p
		}
	}
	s.compare(t, want)
	return passed, dropped
}

// shot returns the packet as it is sent, and false if it cannot be identified or does not cross the node.
func (s *shooting) shot(p oracle.Packet, pairs map[string]bool) (lab.Packet, bool) {
	if p.Bridge != "" {
		// The range's node routes.
		return lab.Packet{}, false
	}
	s.ids++
	shot := lab.Packet{Src: p.Src, Dst: p.Dst, Protocol: p.Protocol, ID: s.ids, SrcPort: 20000 + s.ids, DstPort: p.DstPort, Type: p.ICMPv6Type}
	switch p.Protocol {
	case lab.ICMP:
		shot.Type = 8
	case lab.TCP, lab.UDP, lab.SCTP, lab.ICMPv6:
	default:
		// Such a protocol has one flow between two addresses: a packet would be the reply to another one.
		ends := []string{p.Src.String(), p.Dst.String()}
		if ends[0] > ends[1] {
			ends[0], ends[1] = ends[1], ends[0]
		}
		flow := fmt.Sprint(p.Protocol, ends)
		if pairs[flow] {
			return shot, false
		}
		pairs[flow] = true
	}
	return shot, s.Crosses(shot)
}

// compare waits until the node has seen all packets, and until all that must pass have been seen on the other side too.
func (s *shooting) compare(t *rapid.T, want map[lab.Key]oracle.Packet) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for {
		seen, fresh, err := s.Witness.Tally()
		if err != nil {
			t.Fatal(err)
		}
		wrong := s.wrong(want, seen)
		if len(wrong) == 0 {
			return
		}
		select {
		case <-fresh:
		case <-ctx.Done():
			t.Fatalf("the kernel disagrees:\n%s\n%s", strings.Join(wrong, "\n"), s.backend.text(s.comp.Program()))
		}
	}
}

func (s *shooting) wrong(want map[lab.Key]oracle.Packet, seen map[lab.Key]lab.Sight) []string {
	var out []string
	for k, p := range want {
		_, denied := s.denied[k]
		if got := seen[k]; got.Before != 1 || got.After == 1 == denied {
			out = append(out, fmt.Sprintf("packet %+v: must pass: %t, seen %+v; %v", p, !denied, got,
				evaluator.Evaluate(s.comp.Program(), evaluator.Packet(p)).Reasons()))
		}
	}
	return out
}

// lateComers checks again for packets that must not pass.
func (s *shooting) lateComers(t *rapid.T) {
	seen, _, err := s.Witness.Tally()
	if err != nil {
		t.Fatal(err)
	}
	if wrong := s.wrong(s.denied, seen); len(wrong) > 0 {
		t.Fatalf("the kernel disagrees:\n%s", strings.Join(wrong, "\n"))
	}
}
