package sync

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

func TestNothingIsWrittenBeforeTheCachesAreInSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.put(pod("a", testNode, "10.0.0.1", nil))
		r.put(denyAll("deny"))
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if calls := r.backend.seen(); len(calls) != 0 {
			t.Fatalf("wrote %d times before the caches were in sync", len(calls))
		}
		if r.health.Alive() != nil {
			t.Error("an agent that waits for the API server is alive")
		}
		if len(r.health.NotReady()) == 0 {
			t.Error("an agent that waits for the API server is not ready")
		}
		r.put(pod("b", testNode, "10.0.0.2", nil))
		r.MarkSynced()
		synctest.Wait()
		calls := r.backend.seen()
		if len(calls) != 1 || calls[0].op != "sync" || len(calls[0].locals) != 2 || !calls[0].locals[addr("10.0.0.2")] {
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

// TestNothingIsWrittenBeforeTheCachesAreInSyncWhateverTheyHold: an object over which the compiler panics makes the engine
// compare everything, but not before it knows everything.
func TestNothingIsWrittenBeforeTheCachesAreInSyncWhateverTheyHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.bad["poison"] = true
		r.put(pod("a", testNode, "10.0.0.1", nil))
		r.put(allowFrom("poison", nil))
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if calls := r.backend.seen(); len(calls) != 0 {
			t.Fatalf("wrote %d times before the caches were in sync", len(calls))
		}
		r.MarkSynced()
		synctest.Wait()
		if calls := r.backend.seen(); len(calls) != 1 || !calls[0].locals[addr("10.0.0.1")] {
			t.Fatalf("first write %+v", calls)
		}
	})
}

func TestFirstEventGoesOutAtOnceAndABurstTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.put(denyAll("deny"))
		r.MarkSynced()
		synctest.Wait()
		r.backend.set(func() { r.backend.takes = 50 * time.Millisecond })
		start := time.Now()
		r.put(pod("first", testNode, "10.0.0.1", nil))
		synctest.Wait()
		for i := range 20 {
			for range 3 {
				r.put(pod(fmt.Sprintf("p%d", i), testNode, fmt.Sprintf("10.0.1.%d", i), nil))
			}
		}
		time.Sleep(200 * time.Millisecond)
		synctest.Wait()
		calls := r.backend.seen()
		if len(calls) != 3 {
			t.Fatalf("start, first event and burst are three transactions, got %d", len(calls))
		}
		if !calls[1].at.Equal(start) || len(calls[1].locals) != 1 {
			t.Errorf("the first event waited %s, took %d pods", calls[1].at.Sub(start), len(calls[1].locals))
		}
		if calls[2].op != "apply" || calls[2].delta != 20 || !calls[2].at.Equal(start.Add(50*time.Millisecond)) {
			t.Errorf("the burst must go out together when the first is done: %+v", calls[2])
		}
		if n := histogramCount(t, r, "netpol_agent_event_to_kernel_seconds"); n != 21 {
			t.Errorf("measured %d events, want 21", n)
		}
	})
}

func TestEventsOfTheInitialListAreNotMeasured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.put(denyAll("deny"))
		r.put(pod("a", testNode, "10.0.0.1", nil))
		r.MarkSynced()
		synctest.Wait()
		if n := histogramCount(t, r, "netpol_agent_event_to_kernel_seconds"); n != 0 {
			t.Errorf("%d events of the initial list were measured", n)
		}
		r.put(pod("b", testNode, "10.0.0.2", nil))
		r.put(pod("elsewhere", "node-2", "10.9.0.2", nil)) // no rule names it: changes nothing
		synctest.Wait()
		if n := histogramCount(t, r, "netpol_agent_event_to_kernel_seconds"); n != 1 {
			t.Errorf("measured %d events, want the one that changes rules", n)
		}
	})
}

func histogramCount(t *testing.T, r *rig, name string) uint64 {
	t.Helper()
	families, err := r.metrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetHistogram().GetSampleCount()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

func TestFailureIsRetriedWithBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.put(denyAll("deny"))
		r.MarkSynced()
		synctest.Wait()
		r.backend.set(func() { r.backend.fail = func(int) error { return errKernel } })
		r.put(pod("a", testNode, "10.0.0.1", nil))
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		calls := r.backend.seen()[1:]
		if calls[0].op != "apply" || calls[1].op != "apply" || calls[2].op != "sync" {
			t.Errorf("a change is tried twice, then everything is compared: %s %s %s", calls[0].op, calls[1].op, calls[2].op)
		}
		for i := 1; i < len(calls); i++ {
			gap := calls[i].at.Sub(calls[i-1].at)
			low := min(retryFirst<<min(i-1, 20), retryMost*2/3)
			if gap < low || gap > low*3/2+time.Nanosecond {
				t.Errorf("try %d came after %s, want %s to %s", i, gap, low, low*3/2)
			}
		}
		if n := len(calls); n < 12 || n > 40 {
			t.Errorf("%d tries in five minutes", n)
		}
		if reasons := r.health.NotReady(); len(reasons) != 1 {
			t.Errorf("failing for minutes is not ready, got %v", reasons)
		}
		r.backend.set(func() { r.backend.fail = nil })
		time.Sleep(31 * time.Second)
		synctest.Wait()
		if reasons := r.health.NotReady(); len(reasons) != 0 {
			t.Errorf("not ready after it healed: %v", reasons)
		}
		last := r.backend.seen()[len(r.backend.seen())-1]
		if !last.locals[addr("10.0.0.1")] {
			t.Error("the change was lost")
		}
		if got := valueOf(r.metrics.Applied.WithLabelValues(resultError)); got != float64(len(calls)) && got < 12 {
			t.Errorf("apply_total{error} = %v", got)
		}
	})
}

func TestShortFailureStaysReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.MarkSynced()
		synctest.Wait()
		r.backend.set(func() { r.backend.fail = func(int) error { return errKernel } })
		r.put(denyAll("deny"))
		r.put(pod("a", testNode, "10.0.0.1", nil))
		time.Sleep(time.Second)
		synctest.Wait()
		if reasons := r.health.NotReady(); len(reasons) != 0 {
			t.Errorf("one second of failures: %v", reasons)
		}
	})
}

func TestNewEventBringsTheRetryForward(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.put(denyAll("deny"))
		r.MarkSynced()
		synctest.Wait()
		r.backend.set(func() { r.backend.fail = func(int) error { return errKernel } })
		r.put(pod("a", testNode, "10.0.0.1", nil))
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		before := r.backend.seen()
		r.backend.set(func() { r.backend.fail = nil })
		time.Sleep(time.Until(before[len(before)-1].at.Add(150 * time.Millisecond)))
		start := time.Now()
		r.put(pod("b", testNode, "10.0.0.2", nil))
		synctest.Wait()
		calls := r.backend.seen()[len(before):]
		if len(calls) == 0 {
			t.Fatal("an event during the backoff waits for its end")
		}
		if !calls[0].at.Equal(start) || len(calls[0].locals) != 2 {
			t.Errorf("tried after %s with %d pods", calls[0].at.Sub(start), len(calls[0].locals))
		}
	})
}

func TestEventStormDoesNotHammerAFailingKernel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.put(denyAll("deny"))
		r.MarkSynced()
		synctest.Wait()
		r.backend.set(func() { r.backend.fail = func(int) error { return errKernel } })
		for i := range 1000 {
			r.put(pod(fmt.Sprintf("p%d", i), testNode, fmt.Sprintf("10.1.%d.%d", i/250, i%250+1), nil))
			time.Sleep(10 * time.Millisecond)
		}
		synctest.Wait()
		if n := len(r.backend.seen()); n > 120 {
			t.Errorf("%d tries in ten seconds of events", n)
		}
	})
}

func TestAChangeThatFailedOnceIsNamedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.put(denyAll("deny"))
		r.MarkSynced()
		synctest.Wait()
		r.backend.set(func() {
			r.backend.fail = func(n int) error {
				if n == 1 {
					return errKernel
				}
				return nil
			}
		})
		r.changes = nil
		r.put(pod("a", testNode, "10.0.0.1", nil))
		time.Sleep(time.Second)
		synctest.Wait()
		calls := r.backend.seen()
		if len(calls) != 3 || calls[2].op != "apply" || calls[2].delta != 1 {
			t.Fatalf("calls %+v", calls)
		}
		if len(r.changes) != 1 || len(r.changes[0].Delta.Locals) != 1 {
			t.Errorf("the hook must hear of the change exactly once: %+v", r.changes)
		}
	})
}

func TestResyncAndDriftAreRepairedAndCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.put(pod("a", testNode, "10.0.0.1", nil))
		r.put(denyAll("deny"))
		r.MarkSynced()
		time.Sleep(61 * time.Second)
		synctest.Wait()
		if n := len(r.backend.seen()); n != 2 {
			t.Fatalf("%d calls, want the first sync and one comparison a minute", n)
		}
		count := func(result string) float64 { return valueOf(r.metrics.Resyncs.WithLabelValues(result)) }
		if count(resyncClean) != 1 || count(resyncRepaired) != 0 {
			t.Errorf("clean %v repaired %v", count(resyncClean), count(resyncRepaired))
		}
		r.changes = nil
		r.backend.set(func() { r.backend.drifted, r.backend.ops = true, 5 })
		time.Sleep(1100 * time.Millisecond)
		synctest.Wait()
		if count(resyncRepaired) != 1 {
			t.Errorf("drift was not repaired within a second")
		}
		if len(r.changes) != 1 || !r.changes[0].All {
			t.Errorf("after a repair live connections must be looked at: %+v", r.changes)
		}
	})
}

func TestForeignChangesDoNotKeepUsComparing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.backend.set(func() { r.backend.drifted, r.backend.takes = true, 500*time.Millisecond })
		r.MarkSynced()
		time.Sleep(105 * time.Second)
		synctest.Wait()
		if n := len(r.backend.seen()); n < 5 || n > 12 {
			t.Errorf("%d comparisons of 0.5 s each in 105 s", n)
		}
	})
}

func TestPanicOverANewPolicyIsolatesItsPods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.bad["evil"] = true
		r.put(pod("a", testNode, "10.0.0.1", nil))
		r.MarkSynced()
		synctest.Wait()
		r.put(allowFrom("evil", map[string]string{"app": "x"}))
		synctest.Wait()
		calls := r.backend.seen()
		last := calls[len(calls)-1]
		if last.op != "sync" || !last.locals[addr("10.0.0.1")] {
			t.Fatalf("the pod is open: %+v", last)
		}
		if len(r.reports) != 1 || r.reports[0][0].Policy.Name != "evil" {
			t.Errorf("no diagnostic: %+v", r.reports)
		}
		if got := valueOf(r.metrics.ObjectPanics); got != 1 {
			t.Errorf("object_panics_total = %v", got)
		}
		// The agent goes on.
		r.put(pod("b", testNode, "10.0.0.2", nil))
		synctest.Wait()
		calls = r.backend.seen()
		if last = calls[len(calls)-1]; !last.locals[addr("10.0.0.2")] {
			t.Error("the next event was not enforced")
		}
		// A healthy version heals it.
		r.bad["evil"] = false
		r.put(allowFrom("evil", map[string]string{"app": "x"}))
		synctest.Wait()
		if len(r.reports) != 2 || len(r.reports[1]) != 0 {
			t.Errorf("diagnostic did not go: %+v", r.reports)
		}
	})
}

func TestPanicOverAKnownPodKeepsItsLastState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.put(denyAll("deny"))
		r.put(pod("a", testNode, "10.0.0.1", nil))
		r.put(pod("b", testNode, "10.0.0.2", nil))
		r.MarkSynced()
		synctest.Wait()
		r.bad["a"] = true
		r.put(pod("a", testNode, "10.0.0.9", nil))
		synctest.Wait()
		calls := r.backend.seen()
		// The rebuild cannot digest the pod's former state either: it is left out, all others stay.
		last := calls[len(calls)-1]
		if !last.locals[addr("10.0.0.2")] {
			t.Fatalf("others suffer: %+v", last)
		}
	})
}

func TestPanicInTheRendererIsAFailedTransaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.put(denyAll("deny"))
		r.MarkSynced()
		synctest.Wait()
		r.backend.set(func() { r.backend.panics = true })
		r.put(pod("a", testNode, "10.0.0.1", nil))
		time.Sleep(time.Minute)
		synctest.Wait()
		if r.health.Alive() != nil || len(r.health.NotReady()) != 1 {
			t.Errorf("alive %v, not ready %v", r.health.Alive(), r.health.NotReady())
		}
		r.backend.set(func() { r.backend.panics = false })
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(r.health.NotReady()) != 0 {
			t.Errorf("did not recover: %v", r.health.NotReady())
		}
	})
}

func TestDiagnosticsAreToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.put(badBlock("half"))
		r.MarkSynced()
		synctest.Wait()
		r.put(badBlock("half"))
		r.put(denyAll("fine"))
		synctest.Wait()
		if len(r.reports) != 1 || len(r.reports[0]) != 1 || r.reports[0][0].Policy.Name != "half" {
			t.Fatalf("reports %+v", r.reports)
		}
		if got := valueOf(r.metrics.Diagnostics); got != 1 {
			t.Errorf("diagnostics = %v", got)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := valueOf(r.metrics.Policies.WithLabelValues(statePartly)); got != 1 {
			t.Errorf("policies{partly_understood} = %v", got)
		}
		r.delete(badBlock("half"))
		synctest.Wait()
		if len(r.reports) != 2 || len(r.reports[1]) != 0 {
			t.Errorf("reports after deletion %+v", r.reports)
		}
	})
}

func TestGaugesFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.put(allowFrom("web", map[string]string{"app": "x"}))
		r.put(pod("a", testNode, "10.0.0.1", nil))
		r.put(pod("far", "node-2", "10.0.1.1", nil))
		r.MarkSynced()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		for what, got := range map[string]float64{
			"local_pods{ingress}":   valueOf(r.metrics.LocalPods.WithLabelValues(isolationIn)),
			"policies{enforced}":    valueOf(r.metrics.Policies.WithLabelValues(stateEnforced)),
			"objects{pods}/2":       valueOf(r.metrics.Objects.WithLabelValues(objPods)) / 2,
			"rules{ipv4}/3":         valueOf(r.metrics.Rules.WithLabelValues("ipv4")) / 3,
			"elements{ipv4}/7":      valueOf(r.metrics.Elements.WithLabelValues("ipv4")) / 7,
			"apply_total{ok}":       valueOf(r.metrics.Applied.WithLabelValues(resultOK)),
			"apply_total{error} +1": valueOf(r.metrics.Applied.WithLabelValues(resultError)) + 1,
		} {
			if got != 1 {
				t.Errorf("%s = %v, want 1", what, got)
			}
		}
	})
}

func TestStopFinishesTheTransaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.put(denyAll("deny"))
		r.MarkSynced()
		synctest.Wait()
		r.backend.set(func() { r.backend.takes = 3 * time.Second })
		r.put(pod("a", testNode, "10.0.0.1", nil))
		time.Sleep(time.Second)
		r.cancel()
		start := time.Now()
		<-r.stopped
		if d := time.Since(start); d != 2*time.Second {
			t.Errorf("ended %s after the signal, the transaction needed 2 s more", d)
		}
		if err := r.Do(t.Context(), func() {}); !errors.Is(err, ErrStopped) {
			t.Errorf("Do after the end: %v", err)
		}
	})
}

func TestDoSurvivesAPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		if err := r.Do(t.Context(), func() { panic("x") }); err == nil {
			t.Error("no error")
		}
		ran := false
		if err := r.Do(t.Context(), func() { ran = true }); err != nil || !ran {
			t.Errorf("engine is gone: %v", err)
		}
	})
}
