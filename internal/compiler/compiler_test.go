package compiler

import (
	"fmt"
	"math"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
)

func podAt(name, node, ip string, labels map[string]string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, Labels: labels},
		Spec:       corev1.PodSpec{NodeName: node},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, PodIP: ip},
	}
}

// cluster returns a compiler for node a with 50 local pods, 500 remote ones and 200 policies, 10 of which
// select local pods.
func cluster(t *testing.T) *Compiler {
	t.Helper()
	c := New(Options{Node: "a"})
	for i := range 550 {
		node := "b"
		if i < 50 {
			node = "a"
		}
		c.SetPod(podAt(fmt.Sprintf("pod-%d", i), node, fmt.Sprintf("10.0.%d.%d", i/250, i%250+1),
			map[string]string{"app": fmt.Sprintf("app-%d", i%100), "num": fmt.Sprint(i)}))
	}
	for i := range 200 {
		np := policyFrom(t, fmt.Sprintf("  podSelector: {matchLabels: {num: '%d'}}\n  ingress: [{from: [{podSelector: {matchLabels: {app: app-%d}}}]}]", i+40, i%100))
		np.Name = fmt.Sprintf("p%d", i)
		c.SetPolicy(np)
	}
	c.TakeDelta()
	return c
}

// TestOnlyWhatMattersToTheNode expects policies of other nodes' pods, and their selectors, to stay out of the program.
func TestOnlyWhatMattersToTheNode(t *testing.T) {
	p := cluster(t).Program()
	if len(p.Policies) != 10 || len(p.Sets) != 10 || len(p.Locals) != 50 || len(p.Stacks) != 10 {
		t.Errorf("%d policies, %d sets, %d locals, %d stacks; want 10, 10, 50, 10",
			len(p.Policies), len(p.Sets), len(p.Locals), len(p.Stacks))
	}
}

// TestEventsTouchWhatDependsOnThem counts what each kind of event changes in the program.
func TestEventsTouchWhatDependsOnThem(t *testing.T) {
	label := func(app string) map[string]string { return map[string]string{"app": app, "num": "300"} }
	for _, e := range []struct {
		name                            string
		do                              func(c *Compiler)
		sets, policies, locals, members int
	}{
		{"remote pod leaves one set for another", func(c *Compiler) { c.SetPod(podAt("pod-300", "b", "10.0.1.51", label("app-1"))) }, 2, 0, 0, 2},
		{"remote pod that no set holds", func(c *Compiler) { c.SetPod(podAt("other", "b", "10.0.9.9", label("none"))) }, 0, 0, 0, 0},
		{"nothing new", func(c *Compiler) { c.SetPod(podAt("pod-300", "b", "10.0.1.51", label("app-0"))) }, 0, 0, 0, 0},
		{"remote pod gone", func(c *Compiler) { c.DeletePod(types.NamespacedName{Namespace: "ns", Name: "pod-300"}) }, 1, 0, 0, 1},
		{"local pod added", func(c *Compiler) { c.SetPod(podAt("new", "a", "10.0.9.9", map[string]string{"num": "41"})) }, 0, 0, 1, 0},
		{"policy of no local pod gone", func(c *Compiler) { c.DeletePolicy(types.NamespacedName{Namespace: "ns", Name: "p100"}) }, 0, 0, 0, 0},
		{"policy of a local pod gone", func(c *Compiler) { c.DeletePolicy(types.NamespacedName{Namespace: "ns", Name: "p0"}) }, 1, 1, 1, 6},
	} {
		t.Run(e.name, func(t *testing.T) {
			c := cluster(t)
			e.do(c)
			d := c.TakeDelta()
			members := 0
			for _, m := range d.Sets {
				members += len(m)
			}
			if len(d.Sets) != e.sets || len(d.Policies) != e.policies || len(d.Locals) != e.locals || members != e.members {
				t.Errorf("%d sets, %d policies, %d locals, %d members; want %d, %d, %d, %d",
					len(d.Sets), len(d.Policies), len(d.Locals), members, e.sets, e.policies, e.locals, e.members)
			}
		})
	}
}

// TestNothingIsLeft expects an empty program and no reference once every object is gone.
func TestNothingIsLeft(t *testing.T) {
	c := cluster(t)
	for i := range 550 {
		c.DeletePod(types.NamespacedName{Namespace: "ns", Name: fmt.Sprintf("pod-%d", i)})
	}
	for i := range 200 {
		c.DeletePolicy(types.NamespacedName{Namespace: "ns", Name: fmt.Sprintf("p%d", i)})
	}
	p := c.Program()
	left := len(p.Locals) + len(p.Stacks) + len(p.Tiers) + len(c.tiers) + len(c.moving) + len(p.Policies) + len(p.Sets) + len(c.pods) + len(c.addrs) +
		len(c.policies) + len(c.bySubject) + len(c.sets) + len(c.named) + len(c.stackRefs) + len(c.dirty)
	if left != 0 {
		t.Errorf("%d objects are left: %+v", left, p)
	}
}

// TestPolicyBeforeAddress expects a pod to be isolated by the very event that brings its address.
func TestPolicyBeforeAddress(t *testing.T) {
	c := New(Options{Node: "a"})
	c.SetPolicy(policyFrom(t, "  podSelector: {}"))
	c.SetPod(podAt("x", "a", "", nil))
	if len(c.Program().Locals) != 0 {
		t.Error("a pod without address needs no rule")
	}
	c.SetPod(podAt("x", "a", "10.0.0.1", nil))
	for _, l := range c.Program().Locals {
		if len(l.Stacks(program.Ingress)) != 1 {
			t.Errorf("local %+v, want it isolated in ingress", l)
		}
	}
	if len(c.Program().Locals) != 1 {
		t.Error("the address is not judged")
	}
}

// TestNamedPortFollowsNode moves a pod to this node and away again with its address and its ports, as happens when
// a pod replaces another of the same name. The set of this node's named ports must follow.
func TestNamedPortFollowsNode(t *testing.T) {
	c := New(Options{Node: "a"})
	c.SetPolicy(policyFrom(t, "  podSelector: {}\n  ingress: [{ports: [{port: http}]}]"))
	c.SetPod(podAt("other", "a", "10.0.0.9", nil)) // keeps the policy in the program
	for _, step := range []struct {
		node    string
		members int
	}{{"b", 0}, {"a", 1}, {"b", 0}, {"", 0}, {"a", 1}} {
		p := podAt("x", step.node, "10.0.0.1", nil)
		p.Spec.Containers = []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 80}}}}
		c.SetPod(p)
		for id, s := range c.Program().Sets {
			if len(s.Members) != step.members {
				t.Errorf("on node %q: %v has the members %v, want %d", step.node, id, s.Members, step.members)
			}
		}
	}
}

// TestLargePolicy reads thousands of ports and peers, and a tenth of them. The time must grow with their number;
// comparing every pair would take a hundred times as long.
func TestLargePolicy(t *testing.T) {
	const ports, peers = 12_000, 4_000
	small, large := largePolicy(t, ports/10, peers/10), largePolicy(t, ports, peers)
	ratio := math.Inf(1)
	for tries := 0; tries < 3 && ratio > 35; tries++ {
		one := timeToParse(t, small)
		ratio = min(ratio, float64(timeToParse(t, large))/float64(one))
	}
	t.Logf("ten times the size: %.0f times the time", ratio)
	if ratio > 35 {
		t.Errorf("reading a policy ten times the size takes %.0f times as long", ratio)
	}
	rule := parsePolicy(large).rules.Ingress[0]
	if len(rule.Peers.Sets) != peers+1 || len(rule.Ports.List) != 2*ports {
		t.Errorf("%d peers, %d ports; want %d, %d", len(rule.Peers.Sets), len(rule.Ports.List), peers+1, 2*ports)
	}
}

// largePolicy returns a policy whose only rule has about four entries for each of its ports, and two for each peer.
func largePolicy(t *testing.T, ports int32, peers int) *networkingv1.NetworkPolicy {
	t.Helper()
	np := policyFrom(t, "  ingress: [{ports: [{port: 80}], from: [{podSelector: {}}]}]")
	r := &np.Spec.Ingress[0]
	for i := range ports {
		for range 2 {
			port, end := intstr.FromInt32(i+1), i/2+30_000
			r.Ports = append(r.Ports, networkingv1.NetworkPolicyPort{Port: &port, EndPort: &end}, networkingv1.NetworkPolicyPort{Port: &port})
		}
	}
	for i := range peers {
		for range 2 {
			r.From = append(r.From, networkingv1.NetworkPolicyPeer{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"a": fmt.Sprint(i)}}})
		}
	}
	return np
}

// timeToParse returns the shorter time of two runs.
func timeToParse(t *testing.T, np *networkingv1.NetworkPolicy) time.Duration {
	t.Helper()
	best := time.Hour
	for range 2 {
		start := cpuTime(t)
		parsePolicy(np)
		best = min(best, cpuTime(t)-start)
	}
	return best
}

// cpuTime returns the CPU time of this process, which does not depend on other processes.
func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkPolicyOfManyPods changes one of 500 policies that all select the same 100 pods of the node.
func BenchmarkPolicyOfManyPods(b *testing.B) {
	c := New(Options{Node: "a"})
	for i := range 100 {
		c.SetPod(podAt(fmt.Sprint("pod-", i), "a", fmt.Sprintf("10.0.0.%d", i), nil))
	}
	np := func(i int) *networkingv1.NetworkPolicy {
		return &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: fmt.Sprint("p", i)}}
	}
	for i := range 500 {
		c.SetPolicy(np(i))
	}
	for b.Loop() {
		c.DeletePolicy(types.NamespacedName{Namespace: "ns", Name: "p250"})
		c.SetPolicy(np(250))
		c.TakeDelta()
	}
}
