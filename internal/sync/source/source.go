// Package source lists what the agent follows: one entry for each kind of object that it watches in the API, and one
// for each thing that the node itself reports. Whatever depends on the kinds reads this table: the informers, the
// compiler's input, the metrics' labels, the status, and the check of the chart's ClusterRole.
//
// It does not decide when an update is compiled (package engine) or what an object means (package compiler).
package source

import (
	"fmt"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/netpol-agent/netpol-agent/internal/compiler"
)

// Compiler is the part of compiler.Compiler that takes objects.
type Compiler interface {
	SetPod(*corev1.Pod)
	DeletePod(types.NamespacedName)
	SetNamespace(*corev1.Namespace)
	DeleteNamespace(name string)
	SetPolicy(*networkingv1.NetworkPolicy)
	DeletePolicy(types.NamespacedName)
	SetNodeAddrs([]netip.Addr)
	SetBridges([]string)
}

// The table. To watch another kind, add its entry here, list it in Watched, and allow it in the chart's ClusterRole.
var (
	Pod = watched(entry[*corev1.Pod]{
		api:  api{corev1.SchemeGroupVersion.WithKind("Pod"), meta.RESTScopeNamespace, corev1.AddToScheme, &corev1.Pod{}},
		trim: trimPod, set: Compiler.SetPod, remove: Compiler.DeletePod, closed: compiler.ClosedPods,
	})
	Namespace = watched(entry[*corev1.Namespace]{
		api:  api{corev1.SchemeGroupVersion.WithKind("Namespace"), meta.RESTScopeRoot, corev1.AddToScheme, &corev1.Namespace{}},
		trim: trimNamespace, set: Compiler.SetNamespace,
		remove: func(c Compiler, name types.NamespacedName) { c.DeleteNamespace(name.Name) },
	})
	Policy = watched(entry[*networkingv1.NetworkPolicy]{
		api: api{networkingv1.SchemeGroupVersion.WithKind("NetworkPolicy"), meta.RESTScopeNamespace, networkingv1.AddToScheme,
			&networkingv1.NetworkPolicy{}},
		trim: trimPolicy, set: Compiler.SetPolicy, remove: Compiler.DeletePolicy, closed: compiler.ClosedPolicies,
	})
	// NodeAddrs are the []netip.Addr of this node, and Bridges the []string of bridges that this node's pods are
	// attached to. Their keys have no name.
	NodeAddrs = reported("NodeAddresses", Compiler.SetNodeAddrs)
	Bridges   = reported("Bridges", Compiler.SetBridges)
)

// Watched returns the kinds that are watched in the API.
func Watched() []*Kind { return []*Kind{Pod, Namespace, Policy} }

// Resources returns the names of the watched kinds' resources, as in "pods".
func Resources() (out []string) {
	for _, k := range Watched() {
		out = append(out, k.Resource.Resource)
	}
	return out
}

// Kind is one entry of the table.
type Kind struct {
	// Name is the kind as the API spells it.
	Name string
	// Resource serves the kind in the API. It is zero for what the node reports.
	Resource schema.GroupResource
	// Closed returns objects that can replace one that does not compile, from the closest to the simplest. None of
	// them is more open. A kind may have none.
	Closed func(obj any) []any

	api
	trim   func(obj any) (small any, ok bool)
	set    func(Compiler, any) bool
	remove func(Compiler, types.NamespacedName)
}

// Key names one thing that changes.
type Key struct {
	Kind *Kind
	types.NamespacedName
}

// Update says that something has a new state.
type Update struct {
	Key Key
	// Object is the new state, or nil if the object is gone. Nobody changes it afterwards.
	Object any
	// At is when the agent learned of it.
	At time.Time
}

// Apply passes the state of an object to a compiler.
func (k *Kind) Apply(c Compiler, name types.NamespacedName, obj any) error {
	if obj == nil {
		k.remove(c, name)
	} else if !k.set(c, obj) {
		return fmt.Errorf("%s %s: unexpected type %T", k.Name, name, obj)
	}
	return nil
}

// Update returns the update that an object of this kind has a new state.
func (k *Kind) Update(obj client.Object) Update {
	return Update{Key: k.key(obj.GetNamespace(), obj.GetName()), Object: obj, At: time.Now()}
}

// Gone returns the update that an object of this kind was deleted.
func (k *Kind) Gone(namespace, name string) Update {
	return Update{Key: k.key(namespace, name), At: time.Now()}
}

// Reported returns the update that the node reports a new value.
func (k *Kind) Reported(value any) Update {
	return Update{Key: Key{Kind: k}, Object: value, At: time.Now()}
}

func (k *Kind) key(namespace, name string) Key {
	return Key{Kind: k, NamespacedName: types.NamespacedName{Namespace: namespace, Name: name}}
}

// api is how the API serves a watched kind.
type api struct {
	gvk    schema.GroupVersionKind
	scope  meta.RESTScope
	scheme func(*runtime.Scheme) error
	object client.Object
}

// entry is what the table says of a watched kind, in terms of its Go type.
type entry[T client.Object] struct {
	api
	// trim returns a copy with the parts that the agent reads.
	trim   func(T) T
	set    func(Compiler, T)
	remove func(Compiler, types.NamespacedName)
	// closed is Kind.Closed; nil if nothing can replace an object of the kind.
	closed func(T) []T
}

func watched[T client.Object](e entry[T]) *Kind {
	resource, _ := meta.UnsafeGuessKindToResource(e.gvk)
	k := reported(e.gvk.Kind, e.set)
	k.Resource, k.api, k.remove = resource.GroupResource(), e.api, e.remove
	k.trim = func(obj any) (any, bool) {
		if o, ok := obj.(T); ok {
			return e.trim(o), true
		}
		return nil, false
	}
	k.Closed = func(obj any) (out []any) {
		if o, ok := obj.(T); ok && e.closed != nil {
			for _, c := range e.closed(o) {
				out = append(out, c)
			}
		}
		return out
	}
	return k
}

// reported returns an entry for what the node reports. Without a report, the compiler has the zero value.
func reported[T any](name string, set func(Compiler, T)) *Kind {
	return &Kind{
		Name: name,
		set: func(c Compiler, obj any) bool {
			o, ok := obj.(T)
			if ok {
				set(c, o)
			}
			return ok
		},
		remove: func(c Compiler, _ types.NamespacedName) {
			var zero T
			set(c, zero)
		},
		Closed: func(any) []any { return nil },
	}
}
