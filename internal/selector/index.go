package selector

import (
	"iter"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/types"
)

// OnChange is called when a pod begins or ceases to match a query. It must not call the index.
type OnChange func(queryID string, pod types.NamespacedName, matches bool)

// Index holds pods, namespaces and queries, and reports each change of "this pod matches that query" once. The
// cost of an event depends on what it can affect: a pod event tries only the queries that the pod's namespace and labels
// can reach, and a namespace event only the pods of that namespace.
//
// It is not safe for concurrent use.
type Index struct {
	onChange   OnChange
	namespaces map[string]*namespace
	queries    map[string]*query
	// byNamespaceLabels holds the queries that select namespaces by label.
	byNamespaceLabels map[*query]struct{}
}

type namespace struct {
	known  bool
	labels map[string]string
	pods   map[types.NamespacedName]*indexedPod
	// byLabel holds the pods that carry a label, so that a query for that label need not try all pods.
	byLabel map[label][]*indexedPod
	// queries holds every query that reaches this namespace.
	queries bucket
	// named counts the queries that name this namespace. While there are any, it outlives its last pod.
	named int
}

type indexedPod struct {
	key     types.NamespacedName
	labels  map[string]string
	matches map[*query]struct{}
}

type query struct {
	Query
	id   string
	refs int
}

// NewIndex returns an empty index that reports to onChange.
func NewIndex(onChange OnChange) *Index {
	return &Index{
		onChange:          onChange,
		namespaces:        map[string]*namespace{},
		queries:           map[string]*query{},
		byNamespaceLabels: map[*query]struct{}{},
	}
}

// Acquire activates the query, or counts one more use of it, and returns its ID. The matches of a new query are reported
// before Acquire returns.
func (ix *Index) Acquire(q Query) string {
	id := q.ID()
	if known := ix.queries[id]; known != nil {
		known.refs++
		return id
	}
	nq := &query{Query: q, id: id, refs: 1}
	ix.queries[id] = nq
	if q.Namespace != "" {
		ns := ix.namespace(q.Namespace)
		ns.named++
		ix.attach(ns, nq)
		return id
	}
	ix.byNamespaceLabels[nq] = struct{}{}
	for _, ns := range ix.namespaces {
		if ns.known && q.Namespaces.Matches(ns.labels) {
			ix.attach(ns, nq)
		}
	}
	return id
}

// Release takes back one Acquire. After the last one, the query's matches are reported as ended and the query is removed.
func (ix *Index) Release(id string) {
	q := ix.queries[id]
	if q == nil {
		return
	}
	if q.refs--; q.refs > 0 {
		return
	}
	delete(ix.queries, id)
	if q.Namespace != "" {
		ns := ix.namespaces[q.Namespace]
		ns.named--
		ix.detach(ns, q)
		ix.dropIfUnused(q.Namespace)
		return
	}
	delete(ix.byNamespaceLabels, q)
	for _, ns := range ix.namespaces {
		if ns.known && q.Namespaces.Matches(ns.labels) {
			ix.detach(ns, q)
		}
	}
}

// SetNamespace adds a namespace or changes its labels.
func (ix *Index) SetNamespace(name string, labels map[string]string) {
	ns := ix.namespace(name)
	for q := range ix.byNamespaceLabels {
		before := ns.known && q.Namespaces.Matches(ns.labels)
		after := q.Namespaces.Matches(labels)
		switch {
		case after && !before:
			ix.attach(ns, q)
		case before && !after:
			ix.detach(ns, q)
		}
	}
	ns.known, ns.labels = true, labels
}

// DeleteNamespace removes a namespace's labels. Pods that are still in it match only queries that name the namespace.
func (ix *Index) DeleteNamespace(name string) {
	ns := ix.namespaces[name]
	if ns == nil || !ns.known {
		return
	}
	for q := range ix.byNamespaceLabels {
		if q.Namespaces.Matches(ns.labels) {
			ix.detach(ns, q)
		}
	}
	ns.known, ns.labels = false, nil
	ix.dropIfUnused(name)
}

// SetPod adds a pod or changes its labels.
func (ix *Index) SetPod(key types.NamespacedName, labels map[string]string) {
	ns := ix.namespace(key.Namespace)
	p := ns.pods[key]
	if p == nil {
		p = &indexedPod{key: key, matches: map[*query]struct{}{}}
		ns.pods[key] = p
	}
	ns.relabel(p, labels)
	for q := range p.matches {
		if !q.Pods.Matches(labels) {
			ix.mark(p, q, false)
		}
	}
	ns.queries.matching(labels, func(q *query) { ix.mark(p, q, true) })
}

// DeletePod removes a pod and reports its matches as ended.
func (ix *Index) DeletePod(key types.NamespacedName) {
	ns := ix.namespaces[key.Namespace]
	if ns == nil || ns.pods[key] == nil {
		return
	}
	p := ns.pods[key]
	for q := range p.matches {
		ix.mark(p, q, false)
	}
	ns.relabel(p, nil)
	delete(ns.pods, key)
	ix.dropIfUnused(key.Namespace)
}

func (ix *Index) mark(p *indexedPod, q *query, matches bool) {
	if _, had := p.matches[q]; had == matches {
		return
	}
	if matches {
		p.matches[q] = struct{}{}
	} else {
		delete(p.matches, q)
	}
	ix.onChange(q.id, p.key, matches)
}

func (ix *Index) attach(ns *namespace, q *query) {
	ns.queries.add(q)
	for p := range ns.candidates(q) {
		if q.Pods.Matches(p.labels) {
			ix.mark(p, q, true)
		}
	}
}

func (ix *Index) detach(ns *namespace, q *query) {
	ns.queries.remove(q)
	for p := range ns.candidates(q) {
		ix.mark(p, q, false)
	}
}

// candidates returns a superset of the pods that q matches.
func (ns *namespace) candidates(q *query) iter.Seq[*indexedPod] {
	if q.Pods.pinned {
		return slices.Values(ns.byLabel[q.Pods.pin])
	}
	return maps.Values(ns.pods)
}

// relabel replaces the labels of a pod. nil removes them all.
func (ns *namespace) relabel(p *indexedPod, labels map[string]string) {
	for k, v := range p.labels {
		if now, ok := labels[k]; ok && now == v {
			continue
		}
		l := label{k, v}
		rest := slices.DeleteFunc(ns.byLabel[l], func(o *indexedPod) bool { return o == p })
		if ns.byLabel[l] = rest; len(rest) == 0 {
			delete(ns.byLabel, l)
		}
	}
	for k, v := range labels {
		if was, ok := p.labels[k]; !ok || was != v {
			ns.byLabel[label{k, v}] = append(ns.byLabel[label{k, v}], p)
		}
	}
	p.labels = labels
}

func (ix *Index) namespace(name string) *namespace {
	ns := ix.namespaces[name]
	if ns == nil {
		ns = &namespace{pods: map[types.NamespacedName]*indexedPod{}, byLabel: map[label][]*indexedPod{}}
		ix.namespaces[name] = ns
	}
	return ns
}

func (ix *Index) dropIfUnused(name string) {
	if ns := ix.namespaces[name]; !ns.known && ns.named == 0 && len(ns.pods) == 0 {
		delete(ix.namespaces, name)
	}
}
