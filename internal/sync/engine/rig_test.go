package engine

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/netpol-agent/netpol-agent/internal/compiler"
	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/sync/report"
	"github.com/netpol-agent/netpol-agent/test/agenttest"
)

// rig is a running engine whose backend, clock and compiler the test controls.
type rig struct {
	*Engine
	t        *testing.T
	backend  *agenttest.Backend
	metrics  *report.Metrics
	health   *report.Health
	changes  []Change
	problems [][]report.PolicyProblems
	// bad names the objects over which the compiler panics.
	bad    map[string]bool
	cancel func()
}

// withRig runs a test with an engine whose caches are not in sync yet, in a bubble with a clock of its own.
func withRig(t *testing.T, test func(*testing.T, *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		q := NewQueue()
		r := &rig{t: t, backend: &agenttest.Backend{}, health: report.NewHealth(0), bad: map[string]bool{}}
		r.metrics = report.NewMetrics("test", q.Len, r.health)
		r.health.Starting("")
		r.Engine = New(Config{
			NewCompiler: func() Compiler {
				return faultyCompiler{compiler.New(compiler.Options{Node: agenttest.Node}), r.bad}
			},
			Backend: r.backend, Queue: q, Health: r.health, Metrics: r.metrics, Log: agenttest.Quiet(),
			Hooks: Hooks{
				Committed: func(_ *program.Program, c Change) { r.changes = append(r.changes, c) },
				Diagnosed: func(p []report.PolicyProblems) { r.problems = append(r.problems, p) },
			},
		})
		ctx, cancel := context.WithCancel(t.Context())
		r.cancel = cancel
		defer func() {
			cancel()
			<-r.stopped
		}()
		go r.Run(ctx)
		test(t, r)
	})
}

// withSynced runs a test with an engine that has written the rules of some objects. It discards that change.
func withSynced(t *testing.T, objs []any, test func(*testing.T, *rig)) {
	t.Helper()
	withRig(t, func(t *testing.T, r *rig) {
		r.put(objs...)
		r.sync()
		r.changes = nil
		test(t, r)
	})
}

// put queues updates and waits until the engine is idle.
func (r *rig) put(objs ...any) {
	r.t.Helper()
	for _, obj := range objs {
		r.cfg.Queue.Put(agenttest.Update(r.t, obj))
	}
	synctest.Wait()
}

func (r *rig) delete(obj any) {
	r.t.Helper()
	r.cfg.Queue.Put(agenttest.Gone(r.t, obj))
	synctest.Wait()
}

// sync marks the caches as being in sync.
func (r *rig) sync() {
	r.MarkSynced()
	synctest.Wait()
}

// pass lets time pass.
func (r *rig) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// fail makes every transaction fail, or succeed again.
func (r *rig) fail(yes bool) {
	r.backend.Set(func(b *agenttest.Backend) {
		b.Fail = nil
		if yes {
			b.Fail = func(int) error { return agenttest.ErrKernel }
		}
	})
}

// isolated expects the last write to isolate a local address.
func (r *rig) isolated(addr string) {
	r.t.Helper()
	if last := r.backend.Last(); !last.Locals[agenttest.Addr(addr)] {
		r.t.Errorf("%s is not isolated by the last write: %+v", addr, last)
	}
}

// expect compares the value of the metric with a name and label value.
func (r *rig) expect(want float64, name string, label ...string) {
	r.t.Helper()
	for _, m := range agenttest.Gather(r.t, r.metrics.Registry)["netpol_agent_"+name].GetMetric() {
		if len(label) > 0 && m.GetLabel()[0].GetValue() != label[0] {
			continue
		}
		got := m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
		if got != want {
			r.t.Errorf("%s%v = %v, want %v", name, label, got, want)
		}
		return
	}
	r.t.Errorf("no metric %s%v", name, label)
}

// faultyCompiler panics half way through objects of some names.
type faultyCompiler struct {
	*compiler.Compiler
	bad map[string]bool
}

func (f faultyCompiler) SetPolicy(np *networkingv1.NetworkPolicy) {
	if f.bad[np.Name] && len(np.Spec.Ingress)+len(np.Spec.Egress) > 0 {
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
