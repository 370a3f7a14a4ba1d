// Package compiler turns Pods, Namespaces and NetworkPolicies into the rule program of one node.
//
// It decides who is isolated and what each rule means, following the doc comments of k8s.io/api/networking/v1
// and the Kubernetes documentation's page on Network Policies; where those are silent, docs/semantics.md says
// what holds here. It uses no clock, log, goroutine, client or kernel: the same objects yield the same
// program, in whatever order their events arrive. An event recomputes only what depends on it.
//
// A part that it cannot understand never widens access, never blocks other policies and never causes an error:
// the part matches nothing, the policy still isolates, and a Diagnostic names the object and the field.
package compiler

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/selector"
)

// Options configures a Compiler.
type Options struct {
	// Node is the name of the node whose pods are judged. If it is empty, every pod of the cluster is
	// judged as if it were local.
	Node string
}

// Compiler holds the objects and the program that follows from them. It is not safe for concurrent use.
type Compiler struct {
	node  string
	prog  *program.Program
	delta *program.Delta

	pods  map[types.NamespacedName]*pod
	addrs map[netip.Addr]*address
	// dirty holds the addresses whose Local must be recomputed before the event is done.
	dirty map[netip.Addr]struct{}

	policies map[types.NamespacedName]*policy
	// bySubject finds the policies that select their pods by the same query.
	bySubject map[string]map[*policy]struct{}
	// subjects finds, for the pods of this node, the policies that select them.
	subjects *selector.Index
	// peers finds, for every pod, the peer sets that hold it.
	peers *selector.Index

	sets map[program.SetID]*set
	// named holds the entries of sets that are NamedPorts sets.
	named map[program.SetID]*set
	// moving holds the pods whose tiers must be settled before the event is done.
	moving map[*pod]struct{}
	// tiers finds the interned tiers by their fingerprint.
	tiers map[fingerprint][]*tier
	// stackRefs counts the addresses that use a stack.
	stackRefs map[program.StackID]int

	// bridges are the bridges of this node's pods; isolated counts the addresses of its isolated pods.
	bridges  []string
	isolated int
}

// New returns a compiler without objects: nothing is isolated.
func New(opts Options) *Compiler {
	c := &Compiler{
		node:      opts.Node,
		prog:      program.New(),
		delta:     program.NewDelta(),
		pods:      map[types.NamespacedName]*pod{},
		addrs:     map[netip.Addr]*address{},
		dirty:     map[netip.Addr]struct{}{},
		policies:  map[types.NamespacedName]*policy{},
		bySubject: map[string]map[*policy]struct{}{},
		sets:      map[program.SetID]*set{},
		named:     map[program.SetID]*set{},
		moving:    map[*pod]struct{}{},
		tiers:     map[fingerprint][]*tier{},
		stackRefs: map[program.StackID]int{},
	}
	c.subjects = selector.NewIndex(c.subjectChanged)
	c.peers = selector.NewIndex(c.peerChanged)
	return c
}

// Program returns the current program. The compiler updates it in place.
func (c *Compiler) Program() *program.Program { return c.prog }

// TakeDelta returns what may have changed in the program since the last call.
func (c *Compiler) TakeDelta() *program.Delta {
	d := c.delta
	c.delta = program.NewDelta()
	return d
}

// SetNamespace adds or changes a namespace.
func (c *Compiler) SetNamespace(ns *corev1.Namespace) {
	c.peers.SetNamespace(ns.Name, ns.Labels)
	c.settle()
}

// DeleteNamespace forgets a namespace: no namespaceSelector matches it any more.
func (c *Compiler) DeleteNamespace(name string) {
	c.peers.DeleteNamespace(name)
	c.settle()
}

// SetPod adds or changes a pod.
func (c *Compiler) SetPod(p *corev1.Pod) {
	c.replacePod(types.NamespacedName{Namespace: p.Namespace, Name: p.Name}, readPod(p, c.node))
	c.settle()
}

// DeletePod forgets a pod.
func (c *Compiler) DeletePod(name types.NamespacedName) {
	c.replacePod(name, podFacts{})
	c.settle()
}

// SetPolicy adds or changes a policy.
func (c *Compiler) SetPolicy(np *networkingv1.NetworkPolicy) {
	c.replacePolicy(types.NamespacedName{Namespace: np.Namespace, Name: np.Name}, parsePolicy(np))
	c.settle()
}

// DeletePolicy forgets a policy.
func (c *Compiler) DeletePolicy(name types.NamespacedName) {
	c.replacePolicy(name, nil)
	c.settle()
}

// SetNodeAddrs sets the addresses of this node. Only the evaluator needs them: the kernel knows its own.
func (c *Compiler) SetNodeAddrs(addrs []netip.Addr) {
	clear(c.prog.NodeAddrs)
	for _, a := range addrs {
		c.prog.NodeAddrs[a.Unmap().WithZone("")] = struct{}{}
	}
}

// SetBridges sets the bridges that this node's pods are attached to.
func (c *Compiler) SetBridges(names []string) {
	c.bridges = slices.Compact(slices.Sorted(slices.Values(names)))
	c.settleBridges()
}
