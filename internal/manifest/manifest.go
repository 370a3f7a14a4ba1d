// Package manifest reads Kubernetes objects from YAML or JSON files, strictly, and says where in which file
// each of them, and each mistake, stands.
//
// It decides which documents load: those whose every field is known, of the right type and given once, as the
// API server's strict field validation would have it. It does not decide what an object means, nor whether
// its values make sense: a CIDR that is none, or a selector with an unknown operator, loads, and the compiler
// judges it. A document that does not load is reported and leaves the others alone.
//
// Kinds that this project does not use are skipped, except kinds that restrict traffic: they are refused,
// since a policy that is silently left out would make the outcome look more open, or more closed, than the
// author's cluster is.
package manifest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

// Objects is what was read, each list sorted by namespace and name. Of two documents for one object the later
// one counts, as with "kubectl apply".
type Objects struct {
	Pods       []*corev1.Pod
	Namespaces []*corev1.Namespace
	Policies   []*networkingv1.NetworkPolicy
	Nodes      []*corev1.Node
	// Source says where the objects stand.
	Source *Source
}

// Severity says what became of what a Problem speaks of.
type Severity uint8

const (
	// Refused means that the document, or the list item, did not load.
	Refused Severity = iota
	// Replaced means that an object was loaded and then replaced by a later document of the same name.
	Replaced
	// Ignored means that the document is of a kind that is not used here.
	Ignored
)

// String gives the severity as one lower-case word.
func (s Severity) String() string {
	switch s {
	case Replaced:
		return "replaced"
	case Ignored:
		return "ignored"
	default:
		return "refused"
	}
}

// Problem is one thing worth saying about a document.
type Problem struct {
	Severity Severity
	// File is the path as it was given or found; "-" is the standard input.
	File string
	// Line and Column count from 1; 0 means that the file as a whole is meant.
	Line, Column int
	// Object is the kind and the name, as far as they could be read: "NetworkPolicy default/web".
	Object string
	// Field is the path inside the object: "spec.ingress[0].from[1].ipBlock"; empty for the whole object.
	Field   string
	Message string
}

// String gives the problem on one line: file:line:column: object: field: message.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
		if p.Column > 0 {
			fmt.Fprintf(&b, ":%d", p.Column)
		}
	}
	for _, part := range []string{p.Object, p.Field, p.Message} {
		if part != "" {
			b.WriteString(": ")
			b.WriteString(part)
		}
	}
	return printable(b.String())
}

// printable escapes what would move a terminal's cursor or start a new line: names and fields come from
// files that somebody else may have written.
func printable(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		q := fmt.Sprintf("%+q", r)
		b.WriteString(q[1 : len(q)-1])
	}
	return b.String()
}

// sortProblems puts problems in the order in which a reader of the files meets them.
func sortProblems(problems []Problem, fileOrder map[string]int) {
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(
			cmp.Compare(fileOrder[a.File], fileOrder[b.File]),
			cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Column, b.Column),
		)
	})
}
