package engine

import (
	"errors"
	"fmt"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/netpol-agent/netpol-agent/test/agenttest"
)

var (
	x       = map[string]string{"app": "x"}
	denyAll = []any{agenttest.DenyAll("deny")}
)

func TestNothingIsWrittenBeforeTheCachesAreInSync(t *testing.T) {
	withRig(t, func(t *testing.T, r *rig) {
		r.put(agenttest.Local("a", "10.0.0.1"), agenttest.DenyAll("deny"))
		r.pass(10 * time.Minute)
		if calls := r.backend.Calls(); len(calls) != 0 {
			t.Fatalf("wrote %d times before the caches were in sync", len(calls))
		}
		if r.health.Alive() != nil {
			t.Error("an agent that waits for the API server is alive")
		}
		if len(r.health.NotReady()) == 0 {
			t.Error("an agent that waits for the API server is not ready")
		}
		r.put(agenttest.Local("b", "10.0.0.2"))
		r.sync()
		calls := r.backend.Calls()
		if len(calls) != 1 || calls[0].Op != "sync" || len(calls[0].Locals) != 2 || !calls[0].Locals[agenttest.Addr("10.0.0.2")] {
			t.Fatalf("first write must be one sync of everything, got %+v", calls)
		}
		if reasons := r.health.NotReady(); len(reasons) != 0 {
			t.Errorf("not ready after the first write: %v", reasons)
		}
		if len(r.changes) != 1 || !r.changes[0].All {
			t.Errorf("the first write may have changed anything, got %+v", r.changes)
		}
	})
}

// TestNothingIsWrittenBeforeTheCachesAreInSyncWhateverTheyHold: an object over which the compiler panics makes the
// engine compare everything, but not before it knows everything.
func TestNothingIsWrittenBeforeTheCachesAreInSyncWhateverTheyHold(t *testing.T) {
	withRig(t, func(t *testing.T, r *rig) {
		r.bad["poison"] = true
		r.put(agenttest.Local("a", "10.0.0.1"), agenttest.AllowFrom("poison", nil))
		r.pass(10 * time.Minute)
		if calls := r.backend.Calls(); len(calls) != 0 {
			t.Fatalf("wrote %d times before the caches were in sync", len(calls))
		}
		r.sync()
		if calls := r.backend.Calls(); len(calls) != 1 {
			t.Fatalf("first write %+v", calls)
		}
		r.isolated("10.0.0.1")
	})
}

func TestFirstUpdateGoesOutAtOnceAndABurstTogether(t *testing.T) {
	withSynced(t, denyAll, func(t *testing.T, r *rig) {
		r.backend.Set(func(b *agenttest.Backend) { b.Takes = 50 * time.Millisecond })
		start := time.Now()
		r.put(agenttest.Local("first", "10.0.0.1"))
		for range 3 {
			for i := range 20 {
				r.put(agenttest.Local(fmt.Sprintf("p%d", i), fmt.Sprintf("10.0.1.%d", i)))
			}
		}
		r.pass(200 * time.Millisecond)
		calls := r.backend.Calls()
		if len(calls) != 3 {
			t.Fatalf("start, first update and burst are three transactions, got %d", len(calls))
		}
		if !calls[1].At.Equal(start) || len(calls[1].Locals) != 1 {
			t.Errorf("the first update waited %s, took %d pods", calls[1].At.Sub(start), len(calls[1].Locals))
		}
		if calls[2].Op != "apply" || calls[2].Delta != 20 || !calls[2].At.Equal(start.Add(50*time.Millisecond)) {
			t.Errorf("the burst must go out together when the first is done: %+v", calls[2])
		}
		r.expect(21, "event_to_kernel_seconds")
	})
}

func TestInitialListsAreNotMeasured(t *testing.T) {
	withSynced(t, []any{agenttest.DenyAll("deny"), agenttest.Local("a", "10.0.0.1")}, func(_ *testing.T, r *rig) {
		r.expect(0, "event_to_kernel_seconds")
		r.put(agenttest.Local("b", "10.0.0.2"))
		r.put(agenttest.Pod("elsewhere", "node-2", "10.9.0.2", nil)) // no rule names it: changes nothing
		r.expect(1, "event_to_kernel_seconds")
	})
}

func TestFailureIsRetriedWithBackoff(t *testing.T) {
	withSynced(t, denyAll, func(t *testing.T, r *rig) {
		r.fail(true)
		r.put(agenttest.Local("a", "10.0.0.1"))
		r.pass(5 * time.Minute)
		calls := r.backend.Calls()[1:]
		if calls[0].Op != "apply" || calls[1].Op != "apply" || calls[2].Op != "sync" {
			t.Errorf("a change is tried twice, then everything is compared: %s %s %s", calls[0].Op, calls[1].Op, calls[2].Op)
		}
		for i := 1; i < len(calls); i++ {
			gap := calls[i].At.Sub(calls[i-1].At)
			low := min(retryFirst<<min(i-1, 20), retryMost*2/3)
			if gap < low || gap > low*3/2+time.Nanosecond {
				t.Errorf("try %d came after %s, want %s to %s", i, gap, low, low*3/2)
			}
		}
		if n := len(calls); n < 12 || n > 40 {
			t.Errorf("%d tries in five minutes", n)
		}
		r.expect(float64(len(calls)), "apply_total", "error")
		if reasons := r.health.NotReady(); len(reasons) != 1 {
			t.Errorf("failing for minutes is not ready, got %v", reasons)
		}
		r.fail(false)
		r.pass(31 * time.Second)
		if reasons := r.health.NotReady(); len(reasons) != 0 {
			t.Errorf("not ready after it healed: %v", reasons)
		}
		r.isolated("10.0.0.1")
	})
}

func TestShortFailureStaysReady(t *testing.T) {
	withSynced(t, nil, func(t *testing.T, r *rig) {
		r.fail(true)
		r.put(agenttest.DenyAll("deny"), agenttest.Local("a", "10.0.0.1"))
		r.pass(time.Second)
		if reasons := r.health.NotReady(); len(reasons) != 0 {
			t.Errorf("one second of failures: %v", reasons)
		}
	})
}

func TestNewUpdateBringsTheRetryForward(t *testing.T) {
	withSynced(t, denyAll, func(t *testing.T, r *rig) {
		r.fail(true)
		r.put(agenttest.Local("a", "10.0.0.1"))
		r.pass(2 * time.Minute)
		before := r.backend.Calls()
		r.fail(false)
		time.Sleep(time.Until(before[len(before)-1].At.Add(150 * time.Millisecond)))
		start := time.Now()
		r.put(agenttest.Local("b", "10.0.0.2"))
		calls := r.backend.Calls()[len(before):]
		if len(calls) == 0 {
			t.Fatal("an update during the backoff waits for its end")
		}
		if !calls[0].At.Equal(start) || len(calls[0].Locals) != 2 {
			t.Errorf("tried after %s with %d pods", calls[0].At.Sub(start), len(calls[0].Locals))
		}
	})
}

func TestManyUpdatesDoNotHammerAFailingKernel(t *testing.T) {
	withSynced(t, denyAll, func(t *testing.T, r *rig) {
		r.fail(true)
		for i := range 1000 {
			r.put(agenttest.Local(fmt.Sprintf("p%d", i), fmt.Sprintf("10.1.%d.%d", i/250, i%250+1)))
			r.pass(10 * time.Millisecond)
		}
		if n := len(r.backend.Calls()); n > 120 {
			t.Errorf("%d tries in ten seconds of updates", n)
		}
	})
}

func TestAChangeThatFailedOnceIsNamedAgain(t *testing.T) {
	withSynced(t, denyAll, func(t *testing.T, r *rig) {
		r.backend.Set(func(b *agenttest.Backend) {
			b.Fail = func(n int) error { return map[bool]error{true: agenttest.ErrKernel}[n == 1] }
		})
		r.put(agenttest.Local("a", "10.0.0.1"))
		r.pass(time.Second)
		calls := r.backend.Calls()
		if len(calls) != 3 || calls[2].Op != "apply" || calls[2].Delta != 1 {
			t.Fatalf("calls %+v", calls)
		}
		if len(r.changes) != 1 || len(r.changes[0].Delta.Locals) != 1 {
			t.Errorf("the hook must hear of the change exactly once: %+v", r.changes)
		}
	})
}

func TestResyncAndDriftAreRepairedAndCounted(t *testing.T) {
	withSynced(t, []any{agenttest.Local("a", "10.0.0.1"), agenttest.DenyAll("deny")}, func(t *testing.T, r *rig) {
		r.pass(61 * time.Second)
		if n := len(r.backend.Calls()); n != 2 {
			t.Fatalf("%d calls, want the first sync and one comparison a minute", n)
		}
		r.expect(1, "resync_total", "clean")
		r.expect(0, "resync_total", "repaired")
		r.changes = nil
		r.backend.Set(func(b *agenttest.Backend) { b.Drift, b.Ops = true, 5 })
		r.pass(1100 * time.Millisecond)
		r.expect(1, "resync_total", "repaired")
		if len(r.changes) != 1 || !r.changes[0].All {
			t.Errorf("after a repair live connections must be looked at: %+v", r.changes)
		}
	})
}

func TestForeignChangesDoNotKeepUsComparing(t *testing.T) {
	withRig(t, func(t *testing.T, r *rig) {
		r.backend.Set(func(b *agenttest.Backend) { b.Drift, b.Takes = true, 500*time.Millisecond })
		r.MarkSynced()
		r.pass(105 * time.Second)
		if n := len(r.backend.Calls()); n < 5 || n > 12 {
			t.Errorf("%d comparisons of 0.5 s each in 105 s", n)
		}
	})
}

func TestPanicOverANewPolicyIsolatesItsPods(t *testing.T) {
	withSynced(t, []any{agenttest.Local("a", "10.0.0.1")}, func(t *testing.T, r *rig) {
		r.bad["evil"] = true
		r.put(agenttest.AllowFrom("evil", x))
		if last := r.backend.Last(); last.Op != "sync" {
			t.Errorf("a replaced compiler needs a full comparison, got %+v", last)
		}
		r.isolated("10.0.0.1")
		if len(r.problems) != 1 || r.problems[0][0].Policy.Name != "evil" {
			t.Errorf("no diagnostic: %+v", r.problems)
		}
		r.expect(1, "object_panics_total")
		// The agent goes on.
		r.put(agenttest.Local("b", "10.0.0.2"))
		r.isolated("10.0.0.2")
		// A healthy version heals it.
		r.bad["evil"] = false
		r.put(agenttest.AllowFrom("evil", x))
		if len(r.problems) != 2 || len(r.problems[1]) != 0 {
			t.Errorf("the diagnostic did not go: %+v", r.problems)
		}
	})
}

// TestPanicOverANewPolicyIsolatesEgress: without policyTypes, egress rules mean that the policy isolates egress.
func TestPanicOverANewPolicyIsolatesEgress(t *testing.T) {
	withSynced(t, []any{agenttest.Local("a", "10.0.0.1")}, func(t *testing.T, r *rig) {
		r.bad["evil"] = true
		np := agenttest.DenyAll("evil")
		np.Spec = networkingv1.NetworkPolicySpec{Egress: []networkingv1.NetworkPolicyEgressRule{{}}}
		r.put(np)
		local := r.model.compiler.Program().Locals[agenttest.Addr("10.0.0.1")]
		if local == nil || len(local.Ingress) == 0 || len(local.Egress) == 0 {
			t.Errorf("the pod is not isolated in both directions: %+v", local)
		}
	})
}

func TestPanicOverAKnownPodKeepsTheOthers(t *testing.T) {
	withSynced(t, []any{agenttest.DenyAll("deny"), agenttest.Local("a", "10.0.0.1"), agenttest.Local("b", "10.0.0.2")}, func(_ *testing.T, r *rig) {
		r.bad["a"] = true
		r.put(agenttest.Local("a", "10.0.0.9"))
		// The rebuild fails on the pod's previous state too, so the pod is left out.
		r.isolated("10.0.0.2")
	})
}

func TestPanicInTheRendererIsAFailedTransaction(t *testing.T) {
	withSynced(t, denyAll, func(t *testing.T, r *rig) {
		r.backend.Set(func(b *agenttest.Backend) { b.Panics = true })
		r.put(agenttest.Local("a", "10.0.0.1"))
		r.pass(time.Minute)
		if r.health.Alive() != nil || len(r.health.NotReady()) != 1 {
			t.Errorf("alive %v, not ready %v", r.health.Alive(), r.health.NotReady())
		}
		r.backend.Set(func(b *agenttest.Backend) { b.Panics = false })
		r.pass(time.Minute)
		if len(r.health.NotReady()) != 0 {
			t.Errorf("did not recover: %v", r.health.NotReady())
		}
	})
}

func TestDiagnosticsAreToldOnce(t *testing.T) {
	withSynced(t, []any{agenttest.BadBlock("half")}, func(t *testing.T, r *rig) {
		r.put(agenttest.BadBlock("half"), agenttest.DenyAll("fine"))
		if len(r.problems) != 1 || len(r.problems[0]) != 1 || r.problems[0][0].Policy.Name != "half" {
			t.Fatalf("problems %+v", r.problems)
		}
		r.expect(1, "diagnostics")
		r.pass(2 * time.Second)
		r.expect(1, "policies", "partly_understood")
		r.delete(agenttest.BadBlock("half"))
		if len(r.problems) != 2 || len(r.problems[1]) != 0 {
			t.Errorf("problems after deletion %+v", r.problems)
		}
	})
}

func TestGaugesFollow(t *testing.T) {
	withSynced(t, []any{agenttest.AllowFrom("web", x), agenttest.Local("a", "10.0.0.1"), agenttest.Pod("far", "node-2", "10.0.1.1", nil)}, func(_ *testing.T, r *rig) {
		r.pass(2 * time.Second)
		r.expect(1, "local_pods", "ingress")
		r.expect(1, "policies", "enforced")
		r.expect(2, "objects", "pods")
		r.expect(3, "rules", "ipv4")
		r.expect(7, "elements", "ipv4")
		r.expect(1, "apply_total", "ok")
		r.expect(0, "apply_total", "error")
	})
}

// TestStuckTransactionIsNotAlive: the engine itself sends the heartbeat, so a kernel that never answers is noticed.
func TestStuckTransactionIsNotAlive(t *testing.T) {
	withSynced(t, denyAll, func(t *testing.T, r *rig) {
		r.pass(10 * time.Minute)
		if err := r.health.Alive(); err != nil {
			t.Fatalf("idle: %v", err)
		}
		r.backend.Set(func(b *agenttest.Backend) { b.Takes = 2 * time.Minute })
		r.put(agenttest.Local("a", "10.0.0.1"))
		r.pass(90 * time.Second)
		if r.health.Alive() == nil {
			t.Error("alive although the engine is stuck")
		}
	})
}

func TestStopFinishesTheTransaction(t *testing.T) {
	withSynced(t, denyAll, func(t *testing.T, r *rig) {
		r.backend.Set(func(b *agenttest.Backend) { b.Takes = 3 * time.Second })
		r.put(agenttest.Local("a", "10.0.0.1"))
		r.pass(time.Second)
		r.cancel()
		start := time.Now()
		<-r.stopped
		if d := time.Since(start); d != 2*time.Second {
			t.Errorf("ended %s after the signal, the transaction needed 2 s more", d)
		}
		if err := r.do(t.Context(), func() {}); !errors.Is(err, ErrStopped) {
			t.Errorf("a call after the end: %v", err)
		}
	})
}

func TestCallsSurviveAPanic(t *testing.T) {
	withRig(t, func(t *testing.T, r *rig) {
		if err := r.do(t.Context(), func() { panic("x") }); err == nil {
			t.Error("no error")
		}
		ran := false
		if err := r.do(t.Context(), func() { ran = true }); err != nil || !ran {
			t.Errorf("engine is gone: %v", err)
		}
	})
}
