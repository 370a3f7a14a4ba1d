package report

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/netpol-agent/netpol-agent/internal/compiler"
	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/test/agenttest"
)

// eventStore is a cluster's Events, shared by the emitters of many nodes.
type eventStore struct {
	mu     sync.Mutex
	events map[string]corev1.Event
	tries  int
	fail   error
}

func (s *eventStore) create(_ context.Context, ev *corev1.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tries++
	if s.fail != nil {
		return s.fail
	}
	key := ev.Namespace + "/" + ev.Name
	if _, ok := s.events[key]; ok {
		return apierrors.NewAlreadyExists(schema.GroupResource{Resource: "events"}, ev.Name)
	}
	if s.events == nil {
		s.events = map[string]corev1.Event{}
	}
	s.events[key] = *ev
	return nil
}

func (s *eventStore) counts() (stored, tries int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.events), s.tries
}

func emitter(t *testing.T, node string, s *eventStore) *Events {
	t.Helper()
	e := NewEvents(node, s.create, agenttest.Quiet())
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		e.Run(ctx, "uid-of-node")
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return e
}

func problemsOf(np *networkingv1.NetworkPolicy, fields ...string) PolicyProblems {
	r := PolicyProblems{Policy: np}
	for _, f := range fields {
		r.Diagnostics = append(r.Diagnostics, compiler.Diagnostic{Policy: program.PolicyRef{Namespace: np.Namespace, Name: np.Name}, Field: f, Message: "is not understood"})
	}
	return r
}

func TestOneEventForOneDiagnosticOfAllNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &eventStore{}
		for _, node := range []string{"n1", "n2", "n3"} {
			e := emitter(t, node, store)
			e.Diagnosed([]PolicyProblems{problemsOf(agenttest.BadBlock("half"), "spec.a", "spec.b")})
			e.Diagnosed([]PolicyProblems{problemsOf(agenttest.BadBlock("half"), "spec.a", "spec.b")})
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if stored, tries := store.counts(); stored != 2 || tries != 6 {
			t.Fatalf("%d Events stored in %d requests, want 2 in 6", stored, tries)
		}
		for _, ev := range store.events {
			if ev.Namespace != "default" || ev.InvolvedObject.Kind != "NetworkPolicy" || ev.InvolvedObject.UID != "uid-half" ||
				ev.Type != corev1.EventTypeWarning || ev.Reason != ReasonNotUnderstood || !strings.HasPrefix(ev.Message, "spec.") {
				t.Errorf("%+v", ev)
			}
		}
	})
}

func TestEventsFollowThePolicysGeneration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &eventStore{}
		e := emitter(t, "n1", store)
		np := agenttest.BadBlock("half")
		e.Diagnosed([]PolicyProblems{problemsOf(np, "spec.a")})
		time.Sleep(10 * time.Second)
		relabelled := np.DeepCopy()
		relabelled.ResourceVersion = "77"
		e.Diagnosed([]PolicyProblems{problemsOf(relabelled, "spec.a")})
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if stored, tries := store.counts(); stored != 1 || tries != 1 {
			t.Errorf("the same diagnostic: %d Events, %d requests", stored, tries)
		}
		edited := np.DeepCopy()
		edited.Generation++
		e.Diagnosed([]PolicyProblems{problemsOf(edited, "spec.a")})
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if stored, _ := store.counts(); stored != 2 {
			t.Errorf("an edited policy with the same mistake: %d Events", stored)
		}
	})
}

func TestEventsAreToldAgainBeforeTheyAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &eventStore{}
		e := emitter(t, "n1", store)
		e.Diagnosed([]PolicyProblems{problemsOf(agenttest.BadBlock("half"), "spec.a")})
		time.Sleep(5*time.Hour + time.Minute)
		synctest.Wait()
		if _, tries := store.counts(); tries < 4 || tries > 6 {
			t.Errorf("%d requests in five hours, want about one an hour", tries)
		}
	})
}

func TestNodeEventsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &eventStore{}
		e := emitter(t, "n1", store)
		for range 600 {
			e.OnNode(ReasonApplyFailed, "no")
			time.Sleep(time.Second)
		}
		synctest.Wait()
		stored, tries := store.counts()
		if stored < 2 || stored > 3 || tries != stored {
			t.Errorf("%d Events in %d requests in ten minutes of failures", stored, tries)
		}
		for _, ev := range store.events {
			if ev.Namespace != "default" || ev.InvolvedObject.Kind != "Node" || ev.InvolvedObject.Name != "n1" || ev.InvolvedObject.UID != "uid-of-node" {
				t.Errorf("%+v", ev)
			}
		}
	})
}

func TestEventsWaitForTheAPIServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &eventStore{fail: errors.New("connection refused")}
		e := emitter(t, "n1", store)
		e.Diagnosed([]PolicyProblems{problemsOf(agenttest.BadBlock("half"), "spec.a")})
		time.Sleep(9 * time.Second)
		synctest.Wait()
		store.mu.Lock()
		store.fail = nil
		store.mu.Unlock()
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if stored, _ := store.counts(); stored != 1 {
			t.Errorf("%d Events", stored)
		}
	})
}

func TestARefusedEventIsNotRepeatedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &eventStore{fail: apierrors.NewForbidden(schema.GroupResource{Resource: "events"}, "", nil)}
		e := emitter(t, "n1", store)
		e.Diagnosed([]PolicyProblems{problemsOf(agenttest.BadBlock("half"), "spec.a")})
		time.Sleep(time.Minute)
		synctest.Wait()
		if _, tries := store.counts(); tries != 1 {
			t.Errorf("%d requests", tries)
		}
	})
}

func TestEventNamesAndMessagesFitTheAPI(t *testing.T) {
	long := strings.Repeat("a", 253)
	if n := eventName(long, "x"); len(n) > 253 || n == eventName(long, "y") {
		t.Errorf("name %q", n)
	}
	if eventName("p", "a", "b") == eventName("p", "ab", "") {
		t.Error("different Events have one name")
	}
	e := NewEvents("n", nil, agenttest.Quiet())
	if m := e.event("r", strings.Repeat("é", 2000)).Message; len(m) > maxMessage || !strings.HasSuffix(m, "é") {
		t.Errorf("message of %d bytes ends with %q", len(m), m[len(m)-2:])
	}
}
