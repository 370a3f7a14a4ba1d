package clustergen

import (
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// labels returns the labels of a pod or a namespace.
func labels(s source) map[string]string {
	var all map[string]string
	for _, key := range labelKeys {
		// Which entry of labelValues; -1 for no label.
		choice := pick(s, []int{-1, -1, -1, 0, 0, 1, 1, 2})
		if choice < 0 {
			continue
		}
		if all == nil {
			all = map[string]string{}
		}
		all[key] = labelValues[choice]
	}
	return all
}

// selector returns a label selector; about one in fourteen cannot be parsed.
func selector(s source) *metav1.LabelSelector {
	kind := s.intn(14)
	selector := &metav1.LabelSelector{}
	switch {
	case kind <= 3: // everything
	case kind <= 8:
		selector.MatchLabels = someLabels(s)
	case kind <= 11:
		selector.MatchExpressions = many(s, 1, 2, requirement)
	case kind == 12:
		selector.MatchLabels = someLabels(s)
		selector.MatchExpressions = many(s, 1, 2, requirement)
	default:
		if oneIn(s, 4) {
			selector.MatchLabels = map[string]string{"app": "not a value"}
			break
		}
		selector.MatchExpressions = append(many(s, 0, 1, requirement), badRequirement(s))
	}
	return selector
}

// someLabels returns one label, seldom two.
func someLabels(s source) map[string]string {
	all := map[string]string{pick(s, labelKeys): pick(s, labelValues)}
	if oneIn(s, 5) {
		all[pick(s, labelKeys)] = pick(s, labelValues)
	}
	return all
}

// requirement returns an expression that can be parsed.
func requirement(s source) metav1.LabelSelectorRequirement {
	r := metav1.LabelSelectorRequirement{Key: pick(s, labelKeys)}
	r.Operator = pick(s, []metav1.LabelSelectorOperator{
		metav1.LabelSelectorOpExists, metav1.LabelSelectorOpIn, metav1.LabelSelectorOpNotIn, metav1.LabelSelectorOpDoesNotExist})
	if r.Operator == metav1.LabelSelectorOpIn || r.Operator == metav1.LabelSelectorOpNotIn {
		r.Values = many(s, 1, 3, func(s source) string { return pick(s, labelValues) })
	}
	return r
}

// badRequirement returns an expression that cannot be parsed; most would match much if they were read leniently.
func badRequirement(s source) metav1.LabelSelectorRequirement {
	return pick(s, []metav1.LabelSelectorRequirement{
		{Key: "app", Operator: "Foo"},
		{Key: "app", Operator: "Gt", Values: []string{"1"}},
		{Key: "app", Operator: "exists"},
		{Key: "app", Operator: ""},
		{Key: "app", Operator: metav1.LabelSelectorOpIn},
		{Key: "app", Operator: metav1.LabelSelectorOpNotIn, Values: []string{}},
		{Key: "app", Operator: metav1.LabelSelectorOpExists, Values: []string{"a"}},
		{Key: "nope", Operator: metav1.LabelSelectorOpDoesNotExist, Values: []string{"a"}},
		{Key: "-bad-", Operator: metav1.LabelSelectorOpDoesNotExist},
		{Key: "", Operator: metav1.LabelSelectorOpDoesNotExist},
		{Key: "app", Operator: metav1.LabelSelectorOpNotIn, Values: []string{"not a value"}},
		{Key: "app", Operator: metav1.LabelSelectorOpNotIn, Values: []string{strings.Repeat("a", 64)}},
		{Key: strings.Repeat("k", 64), Operator: metav1.LabelSelectorOpDoesNotExist},
		{Key: "\u00e4pp", Operator: metav1.LabelSelectorOpDoesNotExist},
	})
}
