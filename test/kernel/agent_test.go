package kernel

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/netpol-agent/netpol-agent/internal/compiler"
	"github.com/netpol-agent/netpol-agent/internal/manifest"
	"github.com/netpol-agent/netpol-agent/test/kernel/lab"
	"github.com/netpol-agent/netpol-agent/test/oracle"
)

// thisNode is the name of the lab's node.
const thisNode = "node-1"

// agent is one node's agent without the Kubernetes client: compiler and renderer on the node's kernel.
type agent struct {
	t        testing.TB
	comp     *compiler.Compiler
	backend  backend
	renderer renderer

	// What the agent was told, by namespace/name or name.
	pods       map[string]*corev1.Pod
	namespaces map[string]*corev1.Namespace
	policies   map[string]*networkingv1.NetworkPolicy
	nodeAddrs  []netip.Addr
}

func newAgent(t testing.TB, l *lab.Lab) *agent {
	t.Helper()
	a := &agent{t: t, backend: openBackend(t, l.Node), nodeAddrs: l.NodeAddrs()}
	a.restart()
	return a
}

// restart forgets everything, as a new process does; the kernel keeps its rules until the next commit.
func (a *agent) restart() {
	a.comp = compiler.New(compiler.Options{Node: thisNode})
	a.comp.SetNodeAddrs(a.nodeAddrs)
	a.comp.SetBridges([]string{lab.BridgeName})
	a.renderer = a.backend.renderer(0)
	a.pods, a.namespaces = map[string]*corev1.Pod{}, map[string]*corev1.Namespace{}
	a.policies = map[string]*networkingv1.NetworkPolicy{}
}

// read returns the objects in a YAML text. A document that does not load ends the test.
func read(t testing.TB, yaml string) *manifest.Objects {
	t.Helper()
	objects, problems := manifest.Read("test", []byte(yaml), manifest.Options{})
	for _, p := range problems {
		t.Fatalf("%s\n%s", p, yaml)
	}
	return objects
}

// tell passes the objects in a YAML text to the compiler.
func (a *agent) tell(yaml string) {
	a.t.Helper()
	objects := read(a.t, yaml)
	for _, ns := range objects.Namespaces {
		a.namespaces[ns.Name] = ns
		a.comp.SetNamespace(ns)
	}
	for _, p := range objects.Pods {
		a.setPod(p)
	}
	for _, p := range objects.Policies {
		a.setPolicy(p)
	}
}

func (a *agent) setPod(p *corev1.Pod) {
	a.pods[p.Namespace+"/"+p.Name] = p
	a.comp.SetPod(p)
}

func (a *agent) setPolicy(p *networkingv1.NetworkPolicy) {
	a.policies[p.Namespace+"/"+p.Name] = p
	a.comp.SetPolicy(p)
}

func (a *agent) deletePolicy(namespace, name string) {
	delete(a.policies, namespace+"/"+name)
	a.comp.DeletePolicy(types.NamespacedName{Namespace: namespace, Name: name})
}

func (a *agent) deletePod(namespace, name string) {
	delete(a.pods, namespace+"/"+name)
	a.comp.DeletePod(types.NamespacedName{Namespace: namespace, Name: name})
}

// commit writes what the compiler was told into the kernel.
func (a *agent) commit() {
	a.t.Helper()
	if _, err := a.renderer.Apply(a.comp.Program(), a.comp.TakeDelta()); err != nil {
		a.t.Fatal(err)
	}
}

// state returns what the agent was told, as the oracle reads it.
func (a *agent) state() oracle.State {
	s := oracle.State{NodeAddrs: map[string][]netip.Addr{thisNode: a.nodeAddrs}}
	for _, name := range slices.Sorted(maps.Keys(a.pods)) {
		s.Pods = append(s.Pods, a.pods[name])
	}
	for _, name := range slices.Sorted(maps.Keys(a.namespaces)) {
		s.Namespaces = append(s.Namespaces, a.namespaces[name])
	}
	for _, name := range slices.Sorted(maps.Keys(a.policies)) {
		s.Policies = append(s.Policies, a.policies[name])
	}
	return s
}

// podAddrs returns the valid addresses among those that a pod reports.
func podAddrs(p *corev1.Pod) []netip.Addr {
	var out []netip.Addr
	for _, ip := range append([]corev1.PodIP{{IP: p.Status.PodIP}}, p.Status.PodIPs...) {
		if a, err := netip.ParseAddr(ip.IP); err == nil {
			out = append(out, a.Unmap())
		}
	}
	slices.SortFunc(out, func(x, y netip.Addr) int { return cmp.Compare(x.BitLen(), y.BitLen()) })
	return slices.Compact(out)
}
