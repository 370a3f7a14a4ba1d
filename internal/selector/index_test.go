package selector

import (
	"fmt"
	"maps"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"
)

// TestIndexEqualsTryingAll changes pods, namespaces and queries at random. It expects the reported matches to equal those
// of trying every query on every pod.
func TestIndexEqualsTryingAll(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type match struct {
			query string
			pod   types.NamespacedName
		}
		reported := map[match]bool{}
		ix := NewIndex(func(id string, pod types.NamespacedName, matches bool) {
			m := match{id, pod}
			if reported[m] == matches {
				t.Fatalf("%v: reported %t twice", m, matches)
			}
			if reported[m] = matches; !matches {
				delete(reported, m)
			}
		})
		pods, namespaces, queries := map[types.NamespacedName]map[string]string{}, map[string]map[string]string{}, map[string]Query{}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			ns := rapid.SampledFrom([]string{"n1", "n2"}).Draw(t, "namespace")
			key := types.NamespacedName{Namespace: ns, Name: rapid.SampledFrom([]string{"p1", "p2", "p3"}).Draw(t, "pod")}
			switch rapid.IntRange(0, 6).Draw(t, "step") {
			case 0, 1, 2:
				pods[key] = drawLabels(t)
				ix.SetPod(key, maps.Clone(pods[key]))
			case 3:
				delete(pods, key)
				ix.DeletePod(key)
			case 4:
				namespaces[ns] = drawLabels(t)
				ix.SetNamespace(ns, maps.Clone(namespaces[ns]))
			case 5:
				delete(namespaces, ns)
				ix.DeleteNamespace(ns)
			case 6:
				q := drawQuery(t, ns)
				if _, active := queries[q.ID()]; active {
					delete(queries, q.ID())
					ix.Release(q.ID())
				} else {
					queries[q.ID()] = q
					ix.Acquire(q)
				}
			}
			want := map[match]bool{}
			for id, q := range queries {
				for key, labels := range pods {
					nsLabels, known := namespaces[key.Namespace]
					reaches := q.Namespace == key.Namespace
					if q.Namespace == "" {
						reaches = known && q.Namespaces.Matches(nsLabels)
					}
					if reaches && q.Pods.Matches(labels) {
						want[match{id, key}] = true
					}
				}
			}
			if !maps.Equal(reported, want) {
				t.Fatalf("reported %v, want %v", reported, want)
			}
		}
	})
}

func drawLabels(t *rapid.T) map[string]string {
	return rapid.MapOfN(rapid.SampledFrom([]string{"a", "b"}), rapid.SampledFrom([]string{"", "1", "2"}), 0, 2).Draw(t, "labels")
}

func drawSelector(t *rapid.T) Selector {
	ls := &metav1.LabelSelector{MatchLabels: drawLabels(t)}
	if rapid.Bool().Draw(t, "expression") {
		ls.MatchExpressions = []metav1.LabelSelectorRequirement{{
			Key: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "key"), Operator: metav1.LabelSelectorOpNotIn, Values: []string{"1"},
		}}
	}
	s, err := Parse(ls)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func drawQuery(t *rapid.T, ns string) Query {
	q := Query{Pods: drawSelector(t)}
	if rapid.Bool().Draw(t, "one namespace") {
		q.Namespace = ns
	} else {
		q.Namespaces = drawSelector(t)
	}
	return q
}

// TestNothingIsLeft creates and deletes pods, queries and namespaces whose names and labels never come back. It expects
// the index not to grow, not even in a namespace that stays.
func TestNothingIsLeft(t *testing.T) {
	matches := 0
	ix := NewIndex(func(_ string, _ types.NamespacedName, matched bool) {
		if matched {
			matches++
		} else {
			matches--
		}
	})
	ix.SetNamespace("stays", map[string]string{"team": "a"})
	parse := func(key, value string) Selector {
		s, err := Parse(&metav1.LabelSelector{MatchLabels: map[string]string{key: value}})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	for i := range 1000 {
		own := fmt.Sprint("v", i)
		labels := map[string]string{"app": own, own: ""}
		ix.SetNamespace(own, labels)
		var ids []string
		for _, q := range []Query{
			{Namespace: "stays", Pods: parse("app", own)}, {Namespace: "never-" + own, Pods: Everything()},
			{Namespaces: Everything(), Pods: parse(own, "")}, {Namespaces: parse("app", own), Pods: Everything()},
			{Namespaces: parse("team", "a"), Pods: Everything()},
		} {
			ids = append(ids, ix.Acquire(q))
		}
		keys := []types.NamespacedName{{Namespace: "stays", Name: own}, {Namespace: own, Name: own}, {Namespace: "unknown-" + own, Name: own}}
		for _, key := range keys {
			ix.SetPod(key, labels)
		}
		if matches == 0 {
			t.Fatal("no pod matches, so nothing could be left")
		}
		// The namespace goes before its content and after it, in turn.
		if i%2 == 0 {
			ix.DeleteNamespace(own)
		}
		for _, key := range keys {
			ix.DeletePod(key)
		}
		for _, id := range ids {
			ix.Release(id)
		}
		ix.DeleteNamespace(own)
	}
	ns := ix.namespaces["stays"]
	if n := len(ix.namespaces) - 1 + len(ix.queries) + len(ix.byNamespaceLabels); n != 0 || matches != 0 {
		t.Errorf("%d namespaces and queries and %d matches are left", n, matches)
	}
	if n := len(ns.pods) + len(ns.byLabel) + len(ns.queries.pinned) + len(ns.queries.rest) + ns.named; n != 0 {
		t.Errorf("%d entries are left in the namespace that stays: %+v", n, ns)
	}
}
