// Package selector decides which pods a label selector matches, and keeps the answer up to date event by event.
//
// It knows labels, namespaces and names. It knows nothing of addresses, nodes, policies or verdicts: the compiler decides
// whether a pod takes part at all, and what follows from a match. The package does no I/O.
package selector

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
)

// Selector is a parsed label selector. Parsed selectors with equal String match the same objects. The zero value matches
// nothing.
type Selector struct {
	sel  labels.Selector
	text string
	// pin is a label that every match carries. With it an index can skip most objects.
	pin    label
	pinned bool
}

type label struct{ key, value string }

// Everything returns a selector that matches every object.
func Everything() Selector { return Selector{sel: labels.Everything()} }

// Parse reads a selector of the API. A nil or empty one matches everything, as an empty podSelector or namespaceSelector
// does; callers decide what an absent one means. The error names what is not understood.
func Parse(ls *metav1.LabelSelector) (Selector, error) {
	if ls == nil {
		return Everything(), nil
	}
	sel, err := metav1.LabelSelectorAsSelector(ls)
	if err != nil {
		return Selector{}, fmt.Errorf("label selector: %w", err)
	}
	return canonical(sel)
}

// canonical writes requirements of one meaning in one way: "key in (v)" becomes "key=v".
func canonical(sel labels.Selector) (Selector, error) {
	reqs, selectable := sel.Requirements()
	if !selectable {
		return Selector{}, nil
	}
	canon := make([]labels.Requirement, 0, len(reqs))
	var s Selector
	for _, r := range reqs {
		values := r.Values().List()
		op := r.Operator()
		if op == selection.Equals || op == selection.DoubleEquals {
			op = selection.In
		}
		if op == selection.In && len(values) == 1 {
			op = selection.Equals
			pin := label{r.Key(), values[0]}
			if !s.pinned || pin.key < s.pin.key {
				s.pin, s.pinned = pin, true
			}
		}
		slices.Sort(values)
		nr, err := labels.NewRequirement(r.Key(), op, values)
		if err != nil {
			return Selector{}, fmt.Errorf("label selector: %w", err)
		}
		canon = append(canon, *nr)
	}
	s.sel, s.text = labels.NewSelector().Add(canon...), textOf(canon)
	return s, nil
}

// textOf returns the requirements as text, each once, sorted by key and then by text: labels.Selector leaves those of one
// key in any order.
func textOf(reqs []labels.Requirement) string {
	slices.SortFunc(reqs, func(a, b labels.Requirement) int {
		return cmp.Or(cmp.Compare(a.Key(), b.Key()), cmp.Compare(a.String(), b.String()))
	})
	texts := make([]string, len(reqs))
	for i := range reqs {
		texts[i] = reqs[i].String()
	}
	return strings.Join(slices.Compact(texts), ",")
}

// Matches reports whether the selector matches an object with these labels.
func (s Selector) Matches(l map[string]string) bool {
	return s.sel != nil && s.sel.Matches(labels.Set(l))
}

// String returns the canonical text. It is empty for a selector of everything.
func (s Selector) String() string { return s.text }

// id returns the text, but for the zero value one that no other selector has: the zero value must not be taken for a
// selector of everything.
func (s Selector) id() string {
	if s.sel == nil {
		return "!" // never the text of a requirement
	}
	return s.text
}

// IsEverything reports whether the selector matches every object, labelled or not.
func (s Selector) IsEverything() bool { return s.sel != nil && s.sel.Empty() }
