package clustergen

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"pgregory.net/rapid"

	"github.com/netpol-agent/netpol-agent/test/oracle"
)

// TestHistoriesHaveEveryFeature counts what occurs in the histories of both kinds of draws.
func TestHistoriesHaveEveryFeature(t *testing.T) {
	const enough = 10
	wanted := []string{
		"told twice", "label change", "phase change", "pod ends", "address change", "address appears", "starts terminating", "pod replaced on another node", "address goes to another pod", "policy change", "namespace relabelled",
		"delete", "delete with another version", "delete of what never was", "created again", "namespace after its pod", "namespace after its policy", "namespace deleted under its pod", "empty in the end", "long",
	}
	random := Events()
	for kind, draw := range map[string]func(int) History{
		"rapid": func(i int) History { return random.Example(i) },
		"seed":  func(i int) History { return EventsFromSeed(uint64(i)) },
	} {
		seen := map[string]int{}
		for i := range draws {
			have := map[string]bool{}
			historyFeatures(draw(i), func(name string) { have[name] = true })
			for name := range have {
				seen[name]++
			}
		}
		for _, name := range wanted {
			if seen[name] < enough {
				t.Errorf("%s: %q occurs in %d of %d histories, want at least %d", kind, name, seen[name], draws, enough)
			}
		}
	}
}

// historyFeatures names what occurs in a history.
func historyFeatures(h History, saw func(string)) {
	when := func(yes bool, name string) {
		if yes {
			saw(name)
		}
	}
	w, gone, told := world{}, map[string]bool{}, map[string]bool{}
	for _, e := range h.Events {
		before, existed := w[e.Key()]
		switch {
		case e.Delete:
			when(existed, "delete")
			when(!existed && !told[e.Key()], "delete of what never was")
			before.Delete = true
			when(existed && !reflect.DeepEqual(before, e), "delete with another version")
			when(existed && e.Namespace != nil && podsIn(w, e.Namespace.Name) > 0, "namespace deleted under its pod")
			gone[e.Key()] = true
		case existed:
			when(reflect.DeepEqual(before, e), "told twice")
			changeFeatures(before, e, when)
		default:
			when(gone[e.Key()], "created again")
			if e.Namespace != nil {
				when(podsIn(w, e.Namespace.Name) > 0, "namespace after its pod")
				for _, other := range w {
					when(other.Policy != nil && other.Policy.Namespace == e.Namespace.Name, "namespace after its policy")
				}
			}
		}
		if e.Pod != nil && !e.Delete && e.Pod.Status.PodIP != "" {
			for key, other := range w {
				when(key != e.Key() && other.Pod != nil && other.Pod.Status.PodIP == e.Pod.Status.PodIP, "address goes to another pod")
			}
		}
		told[e.Key()] = true
		w.apply(e)
	}
	when(len(w) == 0 && len(h.Events) > 0, "empty in the end")
	when(len(h.Events) > 25, "long")
}

// podsIn counts the pods of a namespace.
func podsIn(w world, namespace string) int {
	n := 0
	for _, e := range w {
		if e.Pod != nil && e.Pod.Namespace == namespace {
			n++
		}
	}
	return n
}

func changeFeatures(before, after Event, when func(bool, string)) {
	changed := !reflect.DeepEqual(before, after)
	when(changed && after.Policy != nil, "policy change")
	when(changed && after.Namespace != nil, "namespace relabelled")
	if after.Pod == nil {
		return
	}
	one, two := before.Pod, after.Pod
	when(!reflect.DeepEqual(one.Labels, two.Labels), "label change")
	when(one.Status.Phase != two.Status.Phase, "phase change")
	when(one.Status.Phase == corev1.PodRunning && (two.Status.Phase == corev1.PodSucceeded || two.Status.Phase == corev1.PodFailed), "pod ends")
	when(!reflect.DeepEqual(podAddrs(one), podAddrs(two)), "address change")
	when(len(podAddrs(one)) == 0 && len(podAddrs(two)) > 0, "address appears")
	when(one.DeletionTimestamp == nil && two.DeletionTimestamp != nil, "starts terminating")
	when(one.Spec.NodeName != two.Spec.NodeName, "pod replaced on another node")
}

// TestFinalIsReplayed shows that the events of a history lead to its final state.
func TestFinalIsReplayed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := Events().Draw(t, "history")
		if got := h.After(len(h.Events)); !reflect.DeepEqual(got, h.Final) {
			t.Fatalf("the events lead to %#v", got)
		}
		if got := h.After(0); len(got.Pods)+len(got.Namespaces)+len(got.Policies) != 0 {
			t.Fatalf("before the first event there is %#v", got)
		}
	})
}

// TestOrdersEndInTheState shows that random orders lead to exactly the state that was asked for.
func TestOrdersEndInTheState(t *testing.T) {
	different := 0
	rapid.Check(t, func(t *rapid.T) {
		s := State().Draw(t, "state")
		orders := Orders(s)
		one, two := orders.Draw(t, "one"), orders.Draw(t, "two")
		if !reflect.DeepEqual(one.Events, two.Events) {
			different++
		}
		want := fmt.Sprintf("%#v", sorted(s))
		for _, h := range []History{one, two} {
			if got := fmt.Sprintf("%#v", h.After(len(h.Events))); got != want {
				t.Fatalf("the events lead to %s\nwant %s", got, want)
			}
			if got := fmt.Sprintf("%#v", h.Final); got != want {
				t.Fatalf("the history's final state is %s\nwant %s", got, want)
			}
			for _, e := range h.Events {
				for _, p := range s.Pods {
					if e.Pod == p {
						t.Fatalf("the event of %s holds the state's own object", e.Key())
					}
				}
			}
		}
	})
	if different == 0 {
		t.Error("all orders are the same")
	}
}

// sorted returns the state with its lists in the order that histories use.
func sorted(s oracle.State) oracle.State {
	w := world{}
	for _, o := range s.Pods {
		w.apply(Event{Pod: o})
	}
	for _, o := range s.Namespaces {
		w.apply(Event{Namespace: o})
	}
	for _, o := range s.Policies {
		w.apply(Event{Policy: o})
	}
	return w.state(s.NodeAddrs)
}

// TestSeedsRepeat shows that a seed yields the same draws each time, and another seed yields others.
func TestSeedsRepeat(t *testing.T) {
	all := func(seed uint64) string {
		s := StateFromSeed(seed)
		return fmt.Sprintf("%#v %#v %#v", s, PacketsFromSeed(s, seed, 20), EventsFromSeed(seed))
	}
	texts := map[string]bool{}
	for seed := range uint64(20) {
		text := all(seed)
		if text != all(seed) {
			t.Errorf("seed %d yields two different draws", seed)
		}
		texts[text] = true
	}
	if len(texts) < 20 {
		t.Errorf("20 seeds yield %d different draws", len(texts))
	}
}

// TestHistoryPrints checks that a failed property shows events that a person can follow.
func TestHistoryPrints(t *testing.T) {
	p := &corev1.Pod{}
	p.Namespace, p.Name, p.Status.PodIP = "a", "p0", "10.0.0.1"
	text := fmt.Sprintf("%#v", History{Events: []Event{{Pod: p}, {Pod: p, Delete: true}}})
	for _, want := range []string{"event 0: set Pod a/p0\n", "    podIP: 10.0.0.1\n", "event 1: delete Pod a/p0\n", "final state"} {
		if !strings.Contains(text, want) {
			t.Errorf("the printed history lacks %q:\n%s", want, text)
		}
	}
}
