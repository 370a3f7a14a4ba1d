package compiler

import (
	"fmt"
	"runtime"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
)

// denied returns a compiler with pods on node a that n policies select.
func denied(pods, n int) *Compiler {
	c := New(Options{Node: "a"})
	for i := range n {
		c.SetPolicy(&networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: fmt.Sprint("p", i)}})
	}
	for i := range pods {
		c.SetPod(podAt(fmt.Sprint("pod-", i), "a", fmt.Sprintf("10.0.0.%d", i+1), nil))
	}
	return c
}

// TestPodsOfTheSamePoliciesShareATier expects one tier and one stack per direction, whatever the number of pods.
// Adding or removing a policy must lead all pods to the same next tier.
func TestPodsOfTheSamePoliciesShareATier(t *testing.T) {
	c := denied(20, 50)
	last := types.NamespacedName{Namespace: "ns", Name: "p49"}
	for range 3 {
		p := c.Program()
		if len(c.tiers) != 1 || len(p.Tiers) != 1 || len(p.Stacks) != 1 {
			t.Fatalf("%d interned tiers; the program has %d tiers and %d stacks, want one of each", len(c.tiers), len(p.Tiers), len(p.Stacks))
		}
		c.DeletePolicy(last)
		for _, tier := range p.Tiers {
			if len(tier.Policies) != 49 || tier.Default != program.Deny {
				t.Errorf("a tier of %d policies that defaults to %s", len(tier.Policies), tier.Default)
			}
		}
		c.SetPolicy(&networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: last.Namespace, Name: last.Name}})
	}
}

// TestPodEventsCostTheSame expects a pod event to allocate no more with a thousand policies than with ten. It would
// if it spelled out the names of all of them.
func TestPodEventsCostTheSame(t *testing.T) {
	const events = 100
	cost := func(policies int) uint64 {
		c := denied(1, policies)
		return allocated(func() {
			for i := range events {
				c.SetPod(podAt("pod-0", "a", fmt.Sprintf("10.0.1.%d", i%2+1), nil))
				c.TakeDelta()
			}
		}) / events
	}
	if few, many := cost(10), cost(1000); many > few+few/4 {
		t.Errorf("a pod event allocates %d bytes with 1,000 policies and %d with 10", many, few)
	}
}

// TestPodMovesInOneStep expects that a new pod costs in proportion to the policies that select it. If it went from tier to
// tier, policy by policy, it would cost in proportion to their square.
func TestPodMovesInOneStep(t *testing.T) {
	cost := func(policies int) uint64 {
		c := denied(0, policies)
		return allocated(func() { c.SetPod(podAt("pod-0", "a", "10.0.0.1", nil)) })
	}
	if n, twice := cost(2000), cost(4000); twice > 3*n {
		t.Errorf("a new pod allocates %d bytes with 2,000 policies and %d with 4,000", n, twice)
	}
}

// allocated returns how many bytes f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// TestEqualFingerprints expects tiers to stay apart even if all policies have the same fingerprint.
func TestEqualFingerprints(t *testing.T) {
	c := New(Options{Node: "a"})
	pods := []*pod{{}, {}, {}}
	a := newPolicy(types.NamespacedName{Namespace: "ns", Name: "a"}, &parsed{isolates: [2]bool{program.Ingress: true}})
	b := newPolicy(types.NamespacedName{Namespace: "ns", Name: "b"}, &parsed{isolates: [2]bool{program.Ingress: true}})
	b.prints = a.prints
	isolate := func(p *pod, pol *policy, add bool) {
		if delete(pol.pods, p); add {
			pol.pods[p] = struct{}{}
		}
		c.move(p, pol)
		c.settleTiers()
	}
	for i, pol := range []*policy{a, b, a} {
		isolate(pods[i], pol, true)
	}
	first, second := pods[0].tiers[program.Ingress], pods[1].tiers[program.Ingress]
	if first == second || first.id == second.id || first != pods[2].tiers[program.Ingress] {
		t.Fatalf("tiers %+v and %+v of different policies", first, second)
	}
	// The first tier is forgotten while the program still has it; its ID must not be reused.
	c.useTier(first)
	isolate(pods[0], a, false)
	isolate(pods[2], a, false)
	isolate(pods[1], b, false)
	isolate(pods[1], b, true)
	if got := pods[1].tiers[program.Ingress].id; got == first.id {
		t.Errorf("the tier of another policy has the ID %s, which the program still uses for the first", got)
	}
}
