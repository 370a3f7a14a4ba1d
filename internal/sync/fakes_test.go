package sync

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/netpol-agent/netpol-agent/internal/compiler"
	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/render"
)

const testNode = "node-1"

var errKernel = errors.New("the kernel says no")

// call is one call of the fake backend that would have written.
type call struct {
	op     string
	at     time.Time
	locals map[netip.Addr]bool // isolated?
	delta  int                 // local addresses named by the delta
	// bridges are the program's.
	bridges []string
	err     error
}

// fakeBackend remembers what it was asked to write.
type fakeBackend struct {
	mu      sync.Mutex
	calls   []call
	fail    func(n int) error // n counts calls from 0
	takes   time.Duration
	drifted bool
	ops     int // what a Sync after the first says it wrote
	panics  bool
}

func (f *fakeBackend) record(op string, p *program.Program, delta int) (render.Stats, error) {
	f.mu.Lock()
	n := len(f.calls)
	c := call{op: op, at: time.Now(), locals: map[netip.Addr]bool{}, delta: delta, bridges: p.Bridges}
	for a, l := range p.Locals {
		c.locals[a] = l.Isolated()
	}
	if f.fail != nil {
		c.err = f.fail(n)
	}
	f.calls = append(f.calls, c)
	ops, takes, panics := f.ops, f.takes, f.panics
	f.mu.Unlock()
	if panics {
		panic("renderer is broken")
	}
	time.Sleep(takes)
	return render.Stats{Ops: ops}, c.err
}

func (f *fakeBackend) Sync(p *program.Program) (render.Stats, error) { return f.record("sync", p, 0) }

func (f *fakeBackend) Apply(p *program.Program, d *program.Delta) (render.Stats, error) {
	return f.record("apply", p, len(d.Locals))
}

func (f *fakeBackend) Drifted() (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.drifted, nil
}

func (f *fakeBackend) PreciseDrift() bool { return false }

func (f *fakeBackend) Counts() map[string]render.Counts {
	return map[string]render.Counts{"ipv4": {Rules: 3, Chains: 2, Sets: 1, Elements: 7}}
}

func (f *fakeBackend) Table() string { return "fake" }

func (f *fakeBackend) seen() []call {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]call(nil), f.calls...)
}

func (f *fakeBackend) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// faultyCompiler panics over objects of these names, half way through.
type faultyCompiler struct {
	*compiler.Compiler
	bad map[string]bool
}

func (f faultyCompiler) SetPolicy(np *networkingv1.NetworkPolicy) {
	if f.bad[np.Name] && len(np.Spec.Ingress) > 0 {
		panic("cannot digest " + np.Name)
	}
	f.Compiler.SetPolicy(np)
}

func (f faultyCompiler) SetPod(p *corev1.Pod) {
	if f.bad[p.Name] {
		panic("cannot digest " + p.Name)
	}
	f.Compiler.SetPod(p)
}

// rig is an engine with everything around it faked.
type rig struct {
	*Engine
	backend *fakeBackend
	queue   *Queue
	metrics *Metrics
	health  *Health
	changes []Change
	reports [][]Report
	bad     map[string]bool
	cancel  func()
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// newRig gives an engine that runs until the test ends. To be called in a synctest bubble.
func newRig(t *testing.T, change func(*rig, *EngineConfig)) *rig {
	t.Helper()
	q := NewQueue()
	r := &rig{backend: &fakeBackend{}, queue: q, metrics: NewMetrics("test", q.Len),
		health: NewHealth(0, 0, 0), bad: map[string]bool{}}
	r.health.Starting("")
	cfg := EngineConfig{
		NewCompiler: func() Compiler {
			return faultyCompiler{compiler.New(compiler.Options{Node: testNode}), r.bad}
		},
		Backend: r.backend, Queue: q, Health: r.health, Metrics: r.metrics, Log: quiet(),
		Hooks: Hooks{
			Committed: func(_ *program.Program, c Change) { r.changes = append(r.changes, c) },
			Diagnosed: func(reports []Report) { r.reports = append(r.reports, reports) },
		},
	}
	if change != nil {
		change(r, &cfg)
	}
	r.Engine = NewEngine(cfg)
	ctx, cancel := context.WithCancel(t.Context())
	r.cancel = cancel
	t.Cleanup(func() {
		cancel()
		<-r.stopped
	})
	go r.Run(ctx)
	return r
}

func (r *rig) put(obj any) { r.queue.Put(eventOf(obj)) }

func (r *rig) delete(obj any) {
	ev := eventOf(obj)
	ev.Object = nil
	r.queue.Put(ev)
}

func eventOf(obj any) Event {
	ev := Event{Object: obj, At: time.Now()}
	name := func(m metav1.ObjectMeta) types.NamespacedName {
		return types.NamespacedName{Namespace: m.Namespace, Name: m.Name}
	}
	switch o := obj.(type) {
	case *corev1.Pod:
		ev.Key = Key{Pod, name(o.ObjectMeta)}
	case *corev1.Namespace:
		ev.Key = Key{Namespace, name(o.ObjectMeta)}
	case *networkingv1.NetworkPolicy:
		ev.Key = Key{Policy, name(o.ObjectMeta)}
	case []netip.Addr:
		ev.Key = Key{Kind: NodeAddrs}
	}
	return ev
}

func pod(name, node, ip string, labels map[string]string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: maps.Clone(labels)},
		Spec:       corev1.PodSpec{NodeName: node},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, PodIP: ip, PodIPs: []corev1.PodIP{{IP: ip}}},
	}
}

func denyAll(name string) *networkingv1.NetworkPolicy {
	return &networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("uid-" + name), Generation: 1},
		Spec:       networkingv1.NetworkPolicySpec{PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}},
	}
}

func allowFrom(name string, peer map[string]string) *networkingv1.NetworkPolicy {
	np := denyAll(name)
	np.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{
		From: []networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{MatchLabels: peer}}},
	}}
	return np
}

func badBlock(name string) *networkingv1.NetworkPolicy {
	np := denyAll(name)
	np.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{
		From: []networkingv1.NetworkPolicyPeer{{IPBlock: &networkingv1.IPBlock{CIDR: "not an address"}}},
	}}
	return np
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// valueOf gives the value of a gauge or a counter.
func valueOf(m prometheus.Metric) float64 {
	var out dto.Metric
	if err := m.Write(&out); err != nil {
		panic(err)
	}
	if out.Counter != nil {
		return out.Counter.GetValue()
	}
	return out.Gauge.GetValue()
}

func portNamed(name string) *intstr.IntOrString {
	p := intstr.FromString(name)
	return &p
}

var protocols = []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP}
