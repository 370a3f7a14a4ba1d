package engine

import (
	"fmt"
	"log/slog"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"github.com/netpol-agent/netpol-agent/internal/compiler"
	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/sync/report"
	"github.com/netpol-agent/netpol-agent/internal/sync/source"
)

// Compiler is what the engine needs of compiler.Compiler.
type Compiler interface {
	source.Compiler
	Program() *program.Program
	TakeDelta() *program.Delta
	Diagnostics() []compiler.Diagnostic
}

// model is the compiler and the objects that it holds.
//
// The compiler is written to accept any object. If it panics over one all the same, the agent must not crash: it would
// crash again after each restart, and enforce nothing new in between. Nor may it go on with a compiler that stopped half
// way. So the model keeps the last state of each object that compiled, builds a new compiler from these, and records a
// fault for the object:
//   - an object that was known keeps its last good state;
//   - a new object is replaced by the closest one that compiles and is no more open, as the table of sources answers:
//     a policy still isolates its pods, a pod is tried without its ports;
//   - a new object that nothing can replace is left out.
type model struct {
	newCompiler func() Compiler
	compiler    Compiler
	objects     map[*source.Kind]map[types.NamespacedName]any
	faults      map[source.Key]error
	log         *slog.Logger
	metrics     *report.Metrics
}

func newModel(newCompiler func() Compiler, log *slog.Logger, m *report.Metrics) *model {
	return &model{
		newCompiler: newCompiler,
		compiler:    newCompiler(),
		objects:     map[*source.Kind]map[types.NamespacedName]any{},
		faults:      map[source.Key]error{},
		log:         log,
		metrics:     m,
	}
}

// update passes one update to the compiler. It reports whether the compiler was replaced: then the deltas taken so far
// do not lead to the current program.
func (m *model) update(u source.Update) (replaced bool) {
	err := m.set(u.Key, u.Object)
	if err == nil {
		delete(m.faults, u.Key)
		m.remember(u.Key, u.Object)
		return false
	}
	m.fault(u.Key, err)
	if u.Object == nil {
		m.remember(u.Key, nil)
	}
	m.rebuild()
	if _, known := m.objects[u.Key.Kind][u.Key.NamespacedName]; u.Object != nil && !known {
		m.substitute(u.Key, u.Object)
	}
	return true
}

// set passes one object, or its absence, to the compiler.
func (m *model) set(key source.Key, obj any) error {
	_, err := Guard(func() (any, error) { return nil, key.Kind.Apply(m.compiler, key.NamespacedName, obj) })
	return err
}

func (m *model) remember(key source.Key, obj any) {
	objects := m.objects[key.Kind]
	switch {
	case obj == nil:
		delete(objects, key.NamespacedName)
	case objects == nil:
		m.objects[key.Kind] = map[types.NamespacedName]any{key.NamespacedName: obj}
	default:
		objects[key.NamespacedName] = obj
	}
}

func (m *model) fault(key source.Key, err error) {
	m.metrics.ObjectPanics.Inc()
	m.faults[key] = err
	attrs := append([]any{"kind", key.Kind.Name, "object", key.NamespacedName.String()}, logged(err)...)
	m.log.Error("object cannot be compiled, its last good state is kept", attrs...)
}

// rebuild makes a new compiler from the objects that are known to be good. If one of them fails now, it is dropped and
// the rebuild starts again. Each turn drops one, so it ends.
func (m *model) rebuild() {
	for {
		m.compiler = m.newCompiler()
		bad, err := m.replay()
		if err == nil {
			return
		}
		m.fault(bad, fmt.Errorf("while rebuilding: %w", err))
		m.remember(bad, nil)
	}
}

func (m *model) replay() (source.Key, error) {
	for kind, objects := range m.objects {
		for name, obj := range objects {
			key := source.Key{Kind: kind, NamespacedName: name}
			if err := m.set(key, obj); err != nil {
				return key, err
			}
		}
	}
	return source.Key{}, nil
}

// substitute replaces an object that does not compile with the closest one that does and is no more open.
func (m *model) substitute(key source.Key, obj any) {
	for _, closed := range key.Kind.Closed(obj) {
		if m.set(key, closed) == nil {
			m.remember(key, closed)
			return
		}
		m.rebuild()
	}
}

// diagnostics returns what the compiler did not understand, and the policies on which it failed.
func (m *model) diagnostics() []compiler.Diagnostic {
	var failed []compiler.Diagnostic
	for key, err := range m.faults {
		if key.Kind == source.Policy {
			failed = append(failed, compiler.Diagnostic{
				Policy: program.PolicyRef{Namespace: key.Namespace, Name: key.Name},
				Message: fmt.Sprintf("the agent failed on this object (%v); its last good state stays in force, "+
					"or, if there is none, its pods are isolated without any exception", err),
			})
		}
	}
	slices.SortFunc(failed, func(a, b compiler.Diagnostic) int { return a.Policy.Compare(b.Policy) })
	return slices.Concat(m.compiler.Diagnostics(), failed)
}

// counts returns the number of known objects by resource.
func (m *model) counts() map[string]int {
	out := map[string]int{}
	for _, k := range source.Watched() {
		out[k.Resource.Resource] = len(m.objects[k])
	}
	return out
}
