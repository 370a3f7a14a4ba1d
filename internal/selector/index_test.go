package selector

import (
	"maps"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"
)

// TestIndexEqualsTryingAll changes pods, namespaces and queries at random and expects that the matches
// reported are always those that trying every query on every pod gives.
func TestIndexEqualsTryingAll(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type match struct {
			query string
			pod   PodKey
		}
		reported := map[match]bool{}
		ix := NewIndex(func(id string, pod PodKey, matches bool) {
			m := match{id, pod}
			if reported[m] == matches {
				t.Fatalf("%v: reported %t twice", m, matches)
			}
			if reported[m] = matches; !matches {
				delete(reported, m)
			}
		})
		pods, namespaces, queries := map[PodKey]map[string]string{}, map[string]map[string]string{}, map[string]Query{}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			ns := rapid.SampledFrom([]string{"n1", "n2"}).Draw(t, "namespace")
			key := PodKey{ns, rapid.SampledFrom([]string{"p1", "p2", "p3"}).Draw(t, "pod")}
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
