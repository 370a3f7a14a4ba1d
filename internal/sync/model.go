package sync

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/netpol-agent/netpol-agent/internal/compiler"
	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
)

// Compiler is what the engine needs of compiler.Compiler.
type Compiler interface {
	SetPod(*corev1.Pod)
	DeletePod(types.NamespacedName)
	SetNamespace(*corev1.Namespace)
	DeleteNamespace(name string)
	SetPolicy(*networkingv1.NetworkPolicy)
	DeletePolicy(types.NamespacedName)
	SetNodeAddrs([]netip.Addr)
	SetBridges([]string)
	Program() *program.Program
	TakeDelta() *program.Delta
	Diagnostics() []compiler.Diagnostic
}

// model is the compiler and the objects that it holds.
//
// The compiler is written to take any object. Should it panic over one all the same, the agent must neither
// crash (it would crash again at the next start, and enforce nothing new in between) nor go on with a
// compiler that stopped half way. So the model keeps the last state of each object that compiled, builds a
// new compiler from them, and records a fault for the object:
//   - an object that was known keeps its last good state;
//   - a new policy is replaced by one without rules, so that it isolates all the same (fail closed);
//   - a new pod is tried without its ports; a namespace, or a pod that still fails, is left out.
type model struct {
	newCompiler func() Compiler
	compiler    Compiler
	objects     map[Kind]map[types.NamespacedName]any
	faults      map[Key]error
	log         *slog.Logger
	metrics     *Metrics
}

func newModel(newCompiler func() Compiler, log *slog.Logger, m *Metrics) *model {
	return &model{
		newCompiler: newCompiler,
		compiler:    newCompiler(),
		objects:     map[Kind]map[types.NamespacedName]any{Pod: {}, Namespace: {}, Policy: {}, NodeAddrs: {}, Bridges: {}},
		faults:      map[Key]error{},
		log:         log,
		metrics:     m,
	}
}

// update brings one event to the compiler. It says whether the compiler was replaced: then the deltas taken
// so far do not lead to the present program.
func (m *model) update(ev Event) (replaced bool) {
	err := m.set(ev.Key, ev.Object)
	if err == nil {
		delete(m.faults, ev.Key)
		m.remember(ev.Key, ev.Object)
		return false
	}
	m.fault(ev.Key, err)
	if ev.Object == nil {
		m.remember(ev.Key, nil)
	}
	m.rebuild()
	if _, known := m.objects[ev.Key.Kind][ev.Key.NamespacedName]; ev.Object != nil && !known {
		m.substitute(ev.Key, ev.Object)
	}
	return true
}

func (m *model) remember(key Key, obj any) {
	if obj == nil {
		delete(m.objects[key.Kind], key.NamespacedName)
		return
	}
	m.objects[key.Kind][key.NamespacedName] = obj
}

func (m *model) fault(key Key, err error) {
	m.metrics.ObjectPanics.Inc()
	m.faults[key] = err
	attrs := []any{"kind", key.Kind.String(), "object", key.NamespacedName.String(), "error", err}
	var p *panicError
	if errors.As(err, &p) {
		attrs = append(attrs, "stack", string(p.stack))
	}
	m.log.Error("object cannot be compiled, its last good state is kept", attrs...)
}

// rebuild makes a new compiler from the objects that are known to be good. One that fails now, although it
// did not before, is dropped and the rebuild begun anew; each turn drops one, so it ends.
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

func (m *model) replay() (Key, error) {
	for kind, objects := range m.objects {
		for name, obj := range objects {
			key := Key{Kind: kind, NamespacedName: name}
			if err := m.set(key, obj); err != nil {
				return key, err
			}
		}
	}
	return Key{}, nil
}

// substitute puts the most that compiles in the place of an object that does not.
func (m *model) substitute(key Key, obj any) {
	for _, alt := range substitutes(obj) {
		if m.set(key, alt) == nil {
			m.remember(key, alt)
			return
		}
		m.rebuild()
	}
}

// substitutes returns objects that can replace one that does not compile, from the closest to the simplest. None is
// more open.
func substitutes(obj any) (out []any) {
	switch o := obj.(type) {
	case *networkingv1.NetworkPolicy:
		for _, np := range compiler.ClosedPolicies(o) {
			out = append(out, np)
		}
	case *corev1.Pod:
		for _, p := range compiler.ClosedPods(o) {
			out = append(out, p)
		}
	}
	return out
}

// set gives one object, or its absence, to the compiler.
func (m *model) set(key Key, obj any) error {
	return guard(func() error {
		switch o := obj.(type) {
		case *corev1.Pod:
			m.compiler.SetPod(o)
		case *corev1.Namespace:
			m.compiler.SetNamespace(o)
		case *networkingv1.NetworkPolicy:
			m.compiler.SetPolicy(o)
		case []netip.Addr:
			m.compiler.SetNodeAddrs(o)
		case []string:
			m.compiler.SetBridges(o)
		case nil:
			m.remove(key)
		default:
			return fmt.Errorf("%s %s: unexpected type %T", key.Kind, key.NamespacedName, obj)
		}
		return nil
	})
}

func (m *model) remove(key Key) {
	switch key.Kind {
	case Pod:
		m.compiler.DeletePod(key.NamespacedName)
	case Namespace:
		m.compiler.DeleteNamespace(key.Name)
	case Policy:
		m.compiler.DeletePolicy(key.NamespacedName)
	case NodeAddrs:
		m.compiler.SetNodeAddrs(nil)
	case Bridges:
		m.compiler.SetBridges(nil)
	}
}

// diagnostics gives what the compiler did not understand and the policies it could not take at all.
func (m *model) diagnostics() []compiler.Diagnostic {
	var failed []compiler.Diagnostic
	for key, err := range m.faults {
		if key.Kind == Policy {
			failed = append(failed, compiler.Diagnostic{
				Namespace: key.Namespace, Policy: key.Name,
				Message: fmt.Sprintf("the agent failed over this object (%v); its last good state stays in force, "+
					"or, if there is none, its pods are isolated without any exception", err),
			})
		}
	}
	slices.SortFunc(failed, func(a, b compiler.Diagnostic) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Policy, b.Policy))
	})
	return slices.Concat(m.compiler.Diagnostics(), failed)
}
