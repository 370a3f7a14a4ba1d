package oracle

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// parses reports whether the API machinery understands the selector. The machinery is used for nothing else: matching
// is done by hand below.
func parses(selector *metav1.LabelSelector) bool {
	_, err := metav1.LabelSelectorAsSelector(selector)
	return err == nil
}

// selectorMatches reports whether a selector that parses matches the labels.
//
// API (LabelSelector): "The result of matchLabels and matchExpressions are ANDed. An empty label selector matches all
// objects."
func selectorMatches(selector *metav1.LabelSelector, labels map[string]string) bool {
	for key, want := range selector.MatchLabels {
		// API: "A single {key,value} in the matchLabels map is equivalent to an element of matchExpressions, whose key
		// field is "key", the operator is "In", and the values array contains only "value"."
		if have, ok := labels[key]; !ok || have != want {
			return false
		}
	}
	for _, e := range selector.MatchExpressions {
		if !expressionMatches(e, labels) {
			return false
		}
	}
	return true
}

// expressionMatches reports whether one requirement matches the labels.
func expressionMatches(e metav1.LabelSelectorRequirement, labels map[string]string) bool {
	have, ok := labels[e.Key]
	switch e.Operator {
	case metav1.LabelSelectorOpIn:
		return ok && slices.Contains(e.Values, have)
	case metav1.LabelSelectorOpNotIn:
		// Docs (Labels and Selectors): notin also selects "all resources with no labels with the [...] key".
		return !ok || !slices.Contains(e.Values, have)
	case metav1.LabelSelectorOpExists:
		return ok
	case metav1.LabelSelectorOpDoesNotExist:
		return !ok
	default:
		return false
	}
}
