package selector

import "strings"

// Query asks for pods of one namespace, or of every known namespace whose labels match.
type Query struct {
	// Namespace limits the query to one namespace, known or not. If it is set, Namespaces is ignored.
	Namespace string
	// Namespaces selects namespaces by their labels. A namespace whose object is not known matches no selector, not
	// even the empty one: what is unknown must not open anything.
	Namespaces Selector
	// Pods selects pods inside those namespaces.
	Pods Selector
}

// ID returns a text that is the same for queries that have the same meaning.
func (q Query) ID() string {
	if q.Namespace != "" {
		return "ns:" + q.Namespace + "|" + q.Pods.id()
	}
	return "nssel:" + q.Namespaces.id() + "|" + q.Pods.id()
}

// String describes in words which pods the query asks for.
func (q Query) String() string {
	var b strings.Builder
	b.WriteString("pods")
	if !q.Pods.IsEverything() {
		b.WriteString(" " + q.Pods.text)
	}
	switch {
	case q.Namespace != "":
		b.WriteString(" of namespace " + q.Namespace)
	case q.Namespaces.IsEverything():
		b.WriteString(" of all namespaces")
	default:
		b.WriteString(" of namespaces " + q.Namespaces.text)
	}
	return b.String()
}

// bucket holds queries in such a way that those a pod can match are found without trying all of them.
type bucket struct {
	pinned map[label]map[*query]struct{}
	rest   map[*query]struct{}
}

func (b *bucket) add(q *query) {
	if !q.Pods.pinned {
		if b.rest == nil {
			b.rest = map[*query]struct{}{}
		}
		b.rest[q] = struct{}{}
		return
	}
	if b.pinned == nil {
		b.pinned = map[label]map[*query]struct{}{}
	}
	m := b.pinned[q.Pods.pin]
	if m == nil {
		m = map[*query]struct{}{}
		b.pinned[q.Pods.pin] = m
	}
	m[q] = struct{}{}
}

func (b *bucket) remove(q *query) {
	if !q.Pods.pinned {
		delete(b.rest, q)
		return
	}
	m := b.pinned[q.Pods.pin]
	delete(m, q)
	if len(m) == 0 {
		delete(b.pinned, q.Pods.pin)
	}
}

// matching calls f for each query of the bucket that the labels match.
func (b *bucket) matching(l map[string]string, f func(*query)) {
	for q := range b.rest {
		if q.Pods.Matches(l) {
			f(q)
		}
	}
	if len(b.pinned) == 0 {
		return
	}
	for k, v := range l {
		for q := range b.pinned[label{k, v}] {
			if q.Pods.Matches(l) {
				f(q)
			}
		}
	}
}
