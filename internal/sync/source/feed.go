package source

import (
	"context"
	"fmt"
	"log/slog"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// NewCache returns controller-runtime's caches for the watched kinds. They send no other request: the RESTMapper knows
// the kinds from the table, so that a start without an API server does not fail.
//
// There is no manager around them. The agent would use nothing else of it, and the manager of controller-runtime v0.25
// never returns if its context ends before its caches are in sync, as it does when an agent without an API server is
// terminated.
func NewCache(cfg *rest.Config, log *slog.Logger) (cache.Cache, error) {
	scheme, mapper := runtime.NewScheme(), meta.NewDefaultRESTMapper(nil)
	for _, k := range Watched() {
		if err := k.scheme(scheme); err != nil {
			return nil, fmt.Errorf("scheme of %s: %w", k.Name, err)
		}
		mapper.Add(k.gvk, k.scope)
	}
	noCopy := true
	c, err := cache.New(cfg, cache.Options{
		Scheme:           scheme,
		Mapper:           mapper,
		DefaultTransform: trim,
		// The compiler only reads the objects.
		DefaultUnsafeDisableDeepCopy: &noCopy,
		// A failure that lasts is logged as a request that fails.
		DefaultWatchErrorHandler: func(_ context.Context, _ *toolscache.Reflector, err error) {
			log.Debug("watch ended, opening it again", "reason", err)
		},
	})
	if err != nil {
		return nil, fmt.Errorf("caches: %w", err)
	}
	return c, nil
}

// Feed connects the informers of all watched kinds with put. The returned function waits until put has received every
// object of the initial lists. It returns false if ctx ends first.
func Feed(ctx context.Context, informers cache.Informers, put func(Update)) (wait func(context.Context) bool, err error) {
	var synced []toolscache.DoneChecker
	for _, k := range Watched() {
		informer, err := informers.GetInformer(ctx, k.object, cache.BlockUntilSynced(false))
		if err != nil {
			return nil, fmt.Errorf("%s informer: %w", k.Name, err)
		}
		registration, err := informer.AddEventHandler(k.handler(put))
		if err != nil {
			return nil, fmt.Errorf("%s event handler: %w", k.Name, err)
		}
		synced = append(synced, registration.HasSyncedChecker())
	}
	return func(ctx context.Context) bool { return toolscache.WaitFor(ctx, "", synced...) }, nil
}

// handler passes an informer's notifications on as updates.
func (k *Kind) handler(put func(Update)) toolscache.ResourceEventHandler {
	set := func(obj any) {
		if o, ok := obj.(client.Object); ok {
			put(k.Update(o))
		}
	}
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc:    set,
		UpdateFunc: func(_, obj any) { set(obj) },
		DeleteFunc: func(obj any) {
			// After a watch was interrupted there may be no object, only its key.
			if key, err := toolscache.DeletionHandlingMetaNamespaceKeyFunc(obj); err == nil {
				if namespace, name, err := toolscache.SplitMetaNamespaceKey(key); err == nil {
					put(k.Gone(namespace, name))
				}
			}
		},
	}
}
