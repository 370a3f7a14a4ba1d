package clustergen

import (
	"runtime"
	"slices"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	"pgregory.net/rapid"

	"github.com/netpol-agent/netpol-agent/test/oracle"
)

// TestFailuresShrink shows that a failing property shrinks to objects that a person can grasp: a wrong reading of
// except mostly ends with one pod and one policy with one rule.
func TestFailuresShrink(t *testing.T) {
	t.Chdir(t.TempDir()) // The library writes a file about the failure.
	var last oracle.State
	property := func(t *rapid.T) {
		s := State().Draw(t, "state")
		last = s
		wrong := copyState(s)
		eachPeer(wrong, func(p *networkingv1.NetworkPolicyPeer) {
			if p.IPBlock != nil {
				p.IPBlock.Except = nil
			}
		})
		packets := rapid.SliceOfN(Packet(s), 1, packetsPerCase).Draw(t, "packets")
		if !slices.Equal(verdicts(s, packets), verdicts(wrong, packets)) {
			t.Fatal("the verdicts differ")
		}
	}
	found := false
	for range 100 {
		if found = failsIn(t.Name(), property); found {
			break
		}
	}
	if !found {
		t.Fatal("no packet showed the wrong reading")
	}
	rules := 0
	for _, p := range last.Policies {
		rules += len(p.Spec.Ingress) + len(p.Spec.Egress)
	}
	if len(last.Pods) > 2 || len(last.Policies) > 2 || rules > 3 {
		t.Errorf("a failure only shrank to %d pods, %d policies and %d rules:%#v", len(last.Pods), len(last.Policies), rules, last)
	}
}

// failsIn reports whether a property fails in a test of its own.
func failsIn(name string, property func(*rapid.T)) bool {
	r := &recorder{name: name}
	done := make(chan struct{})
	go func() { // A test that fails ends its goroutine.
		defer close(done)
		rapid.Check(r, property)
	}()
	<-done
	return r.failed
}

// recorder is a test that may fail without failing this one.
type recorder struct {
	name   string
	failed bool
}

func (r *recorder) Helper()               {}
func (r *recorder) Name() string          { return r.name }
func (r *recorder) Logf(string, ...any)   {}
func (r *recorder) Log(...any)            {}
func (r *recorder) Skipf(string, ...any)  { r.SkipNow() }
func (r *recorder) Skip(...any)           { r.SkipNow() }
func (r *recorder) SkipNow()              { runtime.Goexit() }
func (r *recorder) Errorf(string, ...any) { r.failed = true }
func (r *recorder) Error(...any)          { r.failed = true }
func (r *recorder) Fatalf(string, ...any) { r.FailNow() }
func (r *recorder) Fatal(...any)          { r.FailNow() }
func (r *recorder) FailNow()              { r.failed = true; runtime.Goexit() }
func (r *recorder) Fail()                 { r.failed = true }
func (r *recorder) Failed() bool          { return r.failed }
