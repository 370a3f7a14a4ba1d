package selector

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

// TestSameMeaningSameText expects selectors with the same meaning to have the same text.
func TestSameMeaningSameText(t *testing.T) {
	same := []*metav1.LabelSelector{
		{MatchLabels: map[string]string{"a": "1", "b": "2"}},
		{MatchLabels: map[string]string{"b": "2"}, MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: metav1.LabelSelectorOpIn, Values: []string{"1"}}}},
		{MatchExpressions: []metav1.LabelSelectorRequirement{
			{Key: "b", Operator: metav1.LabelSelectorOpIn, Values: []string{"2", "2"}},
			{Key: "a", Operator: metav1.LabelSelectorOpIn, Values: []string{"1"}},
		}},
	}
	first, err := Parse(same[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, ls := range same[1:] {
		s, err := Parse(ls)
		if err != nil || s.String() != first.String() {
			t.Errorf("%v: text %q, want %q, error %v", ls, s, first, err)
		}
	}
}

// TestSameSelectorSameText reads one selector many times. It has so many requirements of one key that the API machinery
// does not keep their order.
func TestSameSelectorSameText(t *testing.T) {
	ls := &metav1.LabelSelector{MatchLabels: map[string]string{}}
	for i := range 10 {
		key := fmt.Sprint("k", i)
		ls.MatchLabels[key] = "v"
		for _, op := range []metav1.LabelSelectorOperator{metav1.LabelSelectorOpExists, metav1.LabelSelectorOpNotIn} {
			r := metav1.LabelSelectorRequirement{Key: key, Operator: op}
			if op == metav1.LabelSelectorOpNotIn {
				r.Values = []string{"w"}
			}
			ls.MatchExpressions = append(ls.MatchExpressions, r)
		}
	}
	texts := map[string]bool{}
	for range 50 {
		s, err := Parse(ls)
		if err != nil {
			t.Fatal(err)
		}
		texts[s.String()] = true
		slices.Reverse(ls.MatchExpressions)
	}
	if len(texts) != 1 {
		t.Errorf("one selector has %d texts: %v", len(texts), slices.Collect(maps.Keys(texts)))
	}
}

// TestZeroSelectorMatchesNothing ensures that an ignored error opens nothing.
func TestZeroSelectorMatchesNothing(t *testing.T) {
	if (Selector{}).Matches(nil) || (Selector{}).Matches(map[string]string{"a": "1"}) || (Selector{}).IsEverything() {
		t.Error("the zero selector matches")
	}
	if s, err := Parse(nil); err != nil || !s.Matches(nil) || !s.IsEverything() {
		t.Error("a missing selector must match everything")
	}
	all := Query{Namespaces: Everything(), Pods: Everything()}
	for _, none := range []Query{{}, {Namespaces: Everything()}, {Pods: Everything()}} {
		if none.ID() == all.ID() {
			t.Errorf("%+v has the ID of a query for all pods", none)
		}
	}
}

// FuzzSelector expects that a bad selector causes nothing but an error, that our canonical form matches as the API
// machinery's does, and that the index finds a pod exactly if the selector matches it.
func FuzzSelector(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"matchLabels":{"a":"1"}}`, `{"matchExpressions":[{"key":"a","operator":"NotIn","values":["1"]}]}`,
		`{"matchExpressions":[{"key":"a","operator":"Exists"},{"key":"a","operator":"In","values":["2","1"]}]}`,
		`{"matchExpressions":[{"key":"a","operator":"DoesNotExist","values":["1"]}]}`, `{"matchLabels":{"-":"_"}}`,
		`{"matchExpressions":[{"key":"","operator":"Gt","values":["x"]}]}`,
	} {
		f.Add([]byte(s), "a", "1")
	}
	f.Fuzz(func(t *testing.T, data []byte, key, value string) {
		var ls metav1.LabelSelector
		if json.Unmarshal(data, &ls) != nil {
			return
		}
		ours, err := Parse(&ls)
		theirs, theirErr := metav1.LabelSelectorAsSelector(&ls)
		if (err == nil) != (theirErr == nil) {
			t.Fatalf("error %v, theirs %v", err, theirErr)
		}
		for _, l := range []map[string]string{nil, {key: value}, {"a": "1"}, ls.MatchLabels} {
			want := err == nil && theirs.Matches(labels.Set(l))
			if ours.Matches(l) != want {
				t.Errorf("%s matches %v: %v, want %v", data, l, !want, want)
			}
			if found := indexFinds(ours, l); found != want {
				t.Errorf("%s with %v: the index finds it: %v, want %v", data, l, found, want)
			}
		}
	})
}

func indexFinds(s Selector, l map[string]string) bool {
	found := false
	ix := NewIndex(func(_ string, _ types.NamespacedName, matches bool) { found = matches })
	ix.Acquire(Query{Namespace: "ns", Pods: s})
	ix.SetPod(types.NamespacedName{Namespace: "ns", Name: "pod"}, maps.Clone(l))
	return found
}

// TestIndexReportsEachChangeOnce follows one pod through events of the pod, its namespace and a query.
func TestIndexReportsEachChangeOnce(t *testing.T) {
	var log []string
	ix := NewIndex(func(q string, p types.NamespacedName, matches bool) {
		word := "-"
		if matches {
			word = "+"
		}
		log = append(log, word+p.String()+" "+q)
	})
	expect := func(what string, want ...string) {
		t.Helper()
		if !slices.Equal(log, want) {
			t.Errorf("%s: %q, want %q", what, log, want)
		}
		log = nil
	}
	env, _ := Parse(&metav1.LabelSelector{MatchLabels: map[string]string{"env": "prod"}})
	all := Query{Namespaces: Everything(), Pods: Everything()}
	prod := Query{Namespaces: env, Pods: Everything()}
	key := types.NamespacedName{Namespace: "ns", Name: "p"}
	ix.Acquire(all)
	ix.SetPod(key, nil)
	expect("namespace not known yet")
	ix.SetNamespace("ns", nil)
	expect("namespace appears", "+ns/p "+all.ID())
	ix.Acquire(prod)
	ix.Acquire(prod)
	expect("query that does not match")
	ix.SetNamespace("ns", map[string]string{"env": "prod"})
	expect("namespace relabelled", "+ns/p "+prod.ID())
	ix.Release(prod.ID())
	ix.SetPod(key, map[string]string{"x": "y"})
	expect("still one use, pod changes nothing")
	ix.Release(prod.ID())
	expect("last use", "-ns/p "+prod.ID())
	ix.DeleteNamespace("ns")
	expect("namespace gone", "-ns/p "+all.ID())
	ix.DeletePod(key)
	expect("pod gone")
	if len(ix.namespaces) != 0 {
		t.Errorf("%d namespaces are left", len(ix.namespaces))
	}
}
