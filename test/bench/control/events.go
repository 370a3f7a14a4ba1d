package control

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/netpol-agent/netpol-agent/test/bench/cluster"
	"github.com/netpol-agent/netpol-agent/test/bench/space"
)

// Class groups the kinds of events to which one limit applies.
type Class string

// The classes of events.
const (
	RemotePod Class = "remote pod changed"
	LocalPod  Class = "local pod added"
	Policy    Class = "policy changed"
	Other     Class = "other"
)

// Series is the times from event to committed transaction, for one kind of event.
type Series struct {
	Class   Class
	Name    string
	Samples []time.Duration
}

// Events runs an agent that enforces the cluster and plays events to it, the given number of each kind, one at a time
// with a pause in between. Each kind leaves the cluster as it found it.
func Events(c *cluster.Cluster, backend string, samples int, pause time.Duration) (out []Series, err error) {
	s, err := space.New()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	a, err := newAgent(s, backend)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, a.stop()) }()
	a.load(c)
	a.engine.MarkSynced()
	if _, err := a.committed(); err != nil {
		return nil, err
	}
	p := &player{agent: a, cluster: c, pause: pause}
	for _, k := range kinds {
		series, err := p.play(k, samples)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", k.name, err)
		}
		out = append(out, series...)
	}
	return out, nil
}

// kind is a kind of event and the one that undoes it. Both are timed, each under its own class and name.
type kind struct {
	class, undoClass Class
	name, undoName   string
	// make returns the i-th event and its reverse.
	make func(p *player, i int) (do, undo func())
}

var kinds = []kind{
	{RemotePod, RemotePod, "label change moves it to another set", "label change moves it back", relabelRemote},
	{RemotePod, RemotePod, "address appears", "pod deleted", remoteAddress},
	{LocalPod, Other, "with the policies of others here", "local pod deleted, others have its policies", localAmongOthers},
	{LocalPod, Other, "first of its namespace here", "local pod deleted, last of its namespace here", localFirst},
	{Policy, Policy, "rules edited", "rules edited back", editPolicy},
	{Policy, Policy, "created", "deleted", createPolicy},
	{Policy, Policy, "deleted that all pods of a namespace have", "created for all pods of a namespace", deletePolicy},
	{Other, Other, "namespace relabelled", "namespace relabelled back", relabelNamespace},
}

type player struct {
	*agent
	cluster *cluster.Cluster
	pause   time.Duration
}

func (p *player) play(k kind, samples int) ([]Series, error) {
	there, back := Series{Class: k.class, Name: k.name}, Series{Class: k.undoClass, Name: k.undoName}
	for i := range samples {
		do, undo := k.make(p, i)
		for _, step := range []struct {
			f  func()
			to *Series
		}{{do, &there}, {undo, &back}} {
			took, err := p.time(step.f)
			if err != nil {
				return nil, err
			}
			step.to.Samples = append(step.to.Samples, took)
			<-time.After(p.pause)
		}
	}
	return []Series{there, back}, nil
}

// remoteFrontend returns the i-th pod on another node that peers of policies here select by its tier: a frontend of a
// namespace that has backends here.
func (p *player) remoteFrontend(i int) *corev1.Pod {
	backends := map[string]bool{}
	for _, pod := range p.cluster.Pods {
		if pod.Spec.NodeName == cluster.Node && pod.Labels["tier"] == "backend" {
			backends[pod.Namespace] = true
		}
	}
	var frontends []*corev1.Pod
	for _, pod := range p.cluster.Pods {
		if pod.Spec.NodeName != cluster.Node && backends[pod.Namespace] && pod.Labels["tier"] == "frontend" {
			frontends = append(frontends, pod)
		}
	}
	return frontends[i%len(frontends)]
}

// relabelRemote takes a pod out of the sets of its tier and puts it back.
func relabelRemote(p *player, i int) (do, undo func()) {
	pod := p.remoteFrontend(i)
	changed := pod.DeepCopy()
	changed.Labels["tier"] = "canary"
	return func() { p.put(changed) }, func() { p.put(pod) }
}

// remoteAddress assigns an address to a pod that is already known.
func remoteAddress(p *player, i int) (do, undo func()) {
	names := p.cluster.LocalNamespaces()
	node := 1 + i%(p.cluster.Nodes()-1)
	pod := p.cluster.NewPod(names[i%len(names)], 100000+i, node)
	pending := pod.DeepCopy()
	pending.Status.Phase = corev1.PodPending
	cluster.SetAddr(pending, netip.Addr{})
	p.put(pending)
	<-time.After(p.pause)
	return func() { p.put(pod) }, func() { p.remove(pod) }
}

func localAmongOthers(p *player, i int) (do, undo func()) {
	return p.newLocal(p.cluster.LocalNamespaces(), i)
}

func localFirst(p *player, i int) (do, undo func()) {
	return p.newLocal(p.cluster.RemoteNamespaces(), i)
}

func (p *player) newLocal(namespaces []int, i int) (do, undo func()) {
	pod := p.cluster.NewPod(namespaces[i%len(namespaces)], 200000+i, 0)
	return func() { p.put(pod) }, func() { p.remove(pod) }
}

// policyHere returns one of the policies of a namespace that has pods here; which selects the shape.
func (p *player) policyHere(i int, which string) *networkingv1.NetworkPolicy {
	names := p.cluster.LocalNamespaces()
	ns := cluster.NamespaceName(names[i%len(names)])
	for _, np := range p.cluster.Policies {
		if np.Namespace == ns && np.Name == which {
			return np
		}
	}
	return nil
}

// editPolicy adds a rule with a peer that no other policy has to a policy that selects every pod of the namespace.
func editPolicy(p *player, i int) (do, undo func()) {
	np := p.policyHere(i, "metrics")
	changed := np.DeepCopy()
	extra := *np.Spec.Ingress[0].DeepCopy()
	extra.From[0].PodSelector.MatchLabels = map[string]string{"app": "statsd", "version": fmt.Sprintf("v%d", 1+i%3)}
	port := intstr.FromInt32(int32(9100 + i%100))
	extra.Ports[0].Port = &port
	changed.Spec.Ingress = append(changed.Spec.Ingress, extra)
	return func() { p.put(changed) }, func() { p.put(np) }
}

// createPolicy adds a policy that selects some pods of the namespace. Its shapes take turns.
func createPolicy(p *player, i int) (do, undo func()) {
	names := p.cluster.LocalNamespaces()
	np := cluster.Policy(names[i%len(names)], 0)
	for n := range cluster.Shapes() {
		if np = cluster.Policy(names[i%len(names)], (i+n)%cluster.Shapes()); p.selectsLocal(np) {
			break
		}
	}
	np.Name = fmt.Sprintf("new-%d", i)
	return func() { p.put(np) }, func() { p.remove(np) }
}

// deletePolicy removes and restores the policy that isolates a whole namespace.
func deletePolicy(p *player, i int) (do, undo func()) {
	np := p.policyHere(i, "default-deny")
	return func() { p.remove(np) }, func() { p.put(np) }
}

// relabelNamespace adds the clients of a namespace to the set of alice's clients, or removes them.
func relabelNamespace(p *player, i int) (do, undo func()) {
	names := p.cluster.RemoteNamespaces()
	ns := p.cluster.Namespaces[names[i%len(names)]]
	changed := ns.DeepCopy()
	changed.Labels["user"] = "alice"
	if ns.Labels["user"] == "alice" {
		changed.Labels["user"] = "bob"
	}
	return func() { p.put(changed) }, func() { p.put(ns) }
}

// selectsLocal reports whether a policy selects any pod of this node.
func (p *player) selectsLocal(np *networkingv1.NetworkPolicy) bool {
	sel, err := metav1.LabelSelectorAsSelector(&np.Spec.PodSelector)
	if err != nil {
		return false
	}
	for _, pod := range p.cluster.Pods {
		if pod.Namespace == np.Namespace && pod.Spec.NodeName == cluster.Node && sel.Matches(labels.Set(pod.Labels)) {
			return true
		}
	}
	return false
}
