// Package manifest reads Kubernetes objects from YAML or JSON files, strictly, and knows the place of each object and
// of each mistake in its file.
//
// It decides which documents load: those whose fields are all known, of the right type and given once, as the API
// server's strict field validation demands. It does not decide what an object means, nor whether its values make
// sense: an invalid CIDR or an unknown selector operator loads, and the compiler judges it. A document that does not
// load is reported and does not affect the others.
//
// Kinds that this project does not use are skipped, except kinds that restrict traffic. Those are refused: without
// them the result would look more open, or more closed, than the author's cluster is.
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

// Objects are the objects that were read, each list sorted by namespace and name. If two documents define one object,
// the later one counts, as with "kubectl apply".
type Objects struct {
	Pods       []*corev1.Pod
	Namespaces []*corev1.Namespace
	Policies   []*networkingv1.NetworkPolicy
	Nodes      []*corev1.Node
	// Source knows the places of the objects in the files.
	Source *Source
}

// Severity is what happened to the document of a Problem.
type Severity uint8

const (
	// Refused means that the document or list item did not load.
	Refused Severity = iota
	// Replaced means that a later document replaced the object.
	Replaced
	// Ignored means that the kind of the document is not used here.
	Ignored
)

// String returns the severity as one lower-case word.
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

// Problem is something to report about a document.
type Problem struct {
	Severity Severity
	// File is the path as it was given or found; "-" is standard input.
	File string
	// Line and Column count from 1. 0 means the whole file.
	Line, Column int
	// Object is the kind and name, as far as they could be read: "NetworkPolicy default/web".
	Object string
	// Field is the path in the object, as in "spec.ingress[0].from[1].ipBlock". It is empty for the whole object.
	Field   string
	Message string
}

// String returns the problem on one line: file:line:column: object: field: message.
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

// printable escapes characters that would move a terminal's cursor or start a new line: names and fields come from
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

// sortProblems sorts problems in the order in which a reader of the files meets them.
func sortProblems(problems []Problem, fileOrder map[string]int) {
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(
			cmp.Compare(fileOrder[a.File], fileOrder[b.File]),
			cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Column, b.Column),
		)
	})
}
