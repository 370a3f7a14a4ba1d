package sync

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// newCache gives controller-runtime's caches of what the compiler reads. They ask the API server for nothing
// besides: the few kinds are known, so that a start without API server does not fail.
//
// There is no manager around them. The agent would use nothing else of it, and the manager of
// controller-runtime v0.25 neither ends nor rests when its context ends before its caches are in sync, which
// is how an agent without API server is ended.
func newCache(cfg *rest.Config, log *slog.Logger) (cache.Cache, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, networkingv1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("scheme: %w", err)
		}
	}
	noCopy := true
	c, err := cache.New(cfg, cache.Options{
		Scheme:           scheme,
		Mapper:           staticMapper(),
		DefaultTransform: trim,
		// Objects are only read, by the compiler.
		DefaultUnsafeDisableDeepCopy: &noCopy,
		// What lasts is logged where it shows, as a request that fails.
		DefaultWatchErrorHandler: func(_ context.Context, _ *toolscache.Reflector, err error) {
			log.Debug("watch ended, it is opened again", "reason", err)
		},
	})
	if err != nil {
		return nil, fmt.Errorf("caches: %w", err)
	}
	return c, nil
}

func staticMapper() meta.RESTMapper {
	m := meta.NewDefaultRESTMapper(nil)
	m.Add(corev1.SchemeGroupVersion.WithKind("Pod"), meta.RESTScopeNamespace)
	m.Add(corev1.SchemeGroupVersion.WithKind("Namespace"), meta.RESTScopeRoot)
	m.Add(networkingv1.SchemeGroupVersion.WithKind("NetworkPolicy"), meta.RESTScopeNamespace)
	return m
}

// feed connects the informers of all kinds with the queue. The function that it gives waits until the queue
// has got every object of the initial lists; it says false if ctx ended before.
func feed(ctx context.Context, informers cache.Informers, q *Queue) (wait func(context.Context) bool, err error) {
	var synced []toolscache.DoneChecker
	for kind, obj := range map[Kind]client.Object{
		Pod: &corev1.Pod{}, Namespace: &corev1.Namespace{}, Policy: &networkingv1.NetworkPolicy{},
	} {
		informer, err := informers.GetInformer(ctx, obj, cache.BlockUntilSynced(false))
		if err != nil {
			return nil, fmt.Errorf("%s informer: %w", kind, err)
		}
		registration, err := informer.AddEventHandler(handler(kind, q))
		if err != nil {
			return nil, fmt.Errorf("%s event handler: %w", kind, err)
		}
		synced = append(synced, registration.HasSyncedChecker())
	}
	return func(ctx context.Context) bool { return toolscache.WaitFor(ctx, "", synced...) }, nil
}

// handler puts what an informer tells into the queue.
func handler(kind Kind, q *Queue) toolscache.ResourceEventHandler {
	set := func(obj any) {
		if o, ok := obj.(client.Object); ok {
			q.Put(Event{Key: keyOf(kind, o), Object: o, At: time.Now()})
		}
	}
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc:    set,
		UpdateFunc: func(_, obj any) { set(obj) },
		DeleteFunc: func(obj any) {
			switch o := obj.(type) {
			case client.Object:
				q.Put(Event{Key: keyOf(kind, o), At: time.Now()})
			case toolscache.DeletedFinalStateUnknown:
				// A watch that was interrupted missed the deletion; the name is all that counts.
				if ns, name, err := toolscache.SplitMetaNamespaceKey(o.Key); err == nil {
					key := Key{Kind: kind, NamespacedName: types.NamespacedName{Namespace: ns, Name: name}}
					q.Put(Event{Key: key, At: time.Now()})
				}
			}
		},
	}
}

func keyOf(kind Kind, o client.Object) Key {
	return Key{Kind: kind, NamespacedName: types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}}
}
