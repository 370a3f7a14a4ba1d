package sync

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path"
	"strconv"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// fakeAPI implements as much of an API server as the agent uses: it lists and watches, knows nodes and accepts Events.
type fakeAPI struct {
	server *httptest.Server

	mu       sync.Mutex
	down     bool
	refuse   map[string]bool // resources whose lists and watches are forbidden
	version  int
	objects  map[string]map[string]client.Object // resource, then namespace/name
	watchers map[string]map[chan watchEvent]struct{}
	events   map[string]corev1.Event
	creates  int
	nodes    map[string]bool
}

type watchEvent struct {
	Type   string        `json:"type"`
	Object client.Object `json:"object"`
}

func newFakeAPI(t *testing.T, nodes ...string) *fakeAPI {
	t.Helper()
	f := &fakeAPI{
		version: 1, refuse: map[string]bool{}, events: map[string]corev1.Event{}, nodes: map[string]bool{},
		objects:  map[string]map[string]client.Object{"pods": {}, "namespaces": {}, "networkpolicies": {}},
		watchers: map[string]map[chan watchEvent]struct{}{"pods": {}, "namespaces": {}, "networkpolicies": {}},
	}
	for _, n := range nodes {
		f.nodes[n] = true
	}
	f.server = httptest.NewServer(f)
	t.Cleanup(func() {
		f.setDown(true)
		f.server.Close()
	})
	return f
}

func (f *fakeAPI) config() *rest.Config { return &rest.Config{Host: f.server.URL} }

func resourceOf(obj client.Object) (resource string, kind schema.GroupVersionKind) {
	switch obj.(type) {
	case *corev1.Pod:
		return "pods", corev1.SchemeGroupVersion.WithKind("Pod")
	case *corev1.Namespace:
		return "namespaces", corev1.SchemeGroupVersion.WithKind("Namespace")
	default:
		return "networkpolicies", networkingv1.SchemeGroupVersion.WithKind("NetworkPolicy")
	}
}

// apply stores an object as kubectl apply would.
func (f *fakeAPI) apply(obj client.Object) {
	f.mu.Lock()
	defer f.mu.Unlock()
	resource, kind := resourceOf(obj)
	key := obj.GetNamespace() + "/" + obj.GetName()
	event := "MODIFIED"
	if f.objects[resource][key] == nil {
		event = "ADDED"
	}
	f.version++
	obj.SetResourceVersion(strconv.Itoa(f.version))
	obj.GetObjectKind().SetGroupVersionKind(kind)
	f.objects[resource][key] = obj
	f.tell(resource, watchEvent{event, obj})
}

func (f *fakeAPI) remove(obj client.Object) {
	f.mu.Lock()
	defer f.mu.Unlock()
	resource, _ := resourceOf(obj)
	key := obj.GetNamespace() + "/" + obj.GetName()
	gone := f.objects[resource][key].DeepCopyObject().(client.Object)
	delete(f.objects[resource], key)
	f.version++
	gone.SetResourceVersion(strconv.Itoa(f.version))
	f.tell(resource, watchEvent{"DELETED", gone})
}

func (f *fakeAPI) tell(resource string, ev watchEvent) {
	for w := range f.watchers[resource] {
		w <- ev
	}
}

// setDown makes every request fail and ends all watches, or lets the server work again.
func (f *fakeAPI) setDown(down bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = down
	if !down {
		return
	}
	for _, ws := range f.watchers {
		for w := range ws {
			close(w)
			delete(ws, w)
		}
	}
}

func (f *fakeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	down := f.down
	f.mu.Unlock()
	resource := path.Base(r.URL.Path)
	switch {
	case down:
		http.Error(w, "down", http.StatusServiceUnavailable)
	case strings.HasPrefix(r.URL.Path, "/api/v1/nodes/"):
		f.serveNode(w, resource)
	case r.Method == http.MethodPost && resource == "events":
		f.serveEvent(w, r)
	case f.objects[resource] == nil:
		fail(w, apierrors.NewNotFound(schema.GroupResource{Resource: resource}, ""))
	case f.refused(resource):
		fail(w, apierrors.NewForbidden(schema.GroupResource{Resource: resource}, "", fmt.Errorf("no such right")))
	case r.URL.Query().Get("watch") == "true" || r.URL.Query().Get("watch") == "1":
		f.serveWatch(w, r, resource)
	default:
		f.serveList(w, resource)
	}
}

func (f *fakeAPI) refused(resource string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.refuse[resource]
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func fail(w http.ResponseWriter, err *apierrors.StatusError) {
	s := err.Status()
	s.Kind, s.APIVersion = "Status", "v1"
	reply(w, int(s.Code), s)
}

func (f *fakeAPI) serveNode(w http.ResponseWriter, name string) {
	if !f.nodes[name] {
		fail(w, apierrors.NewNotFound(schema.GroupResource{Resource: "nodes"}, name))
		return
	}
	reply(w, http.StatusOK, &corev1.Node{
		TypeMeta:   metav1.TypeMeta{Kind: "Node", APIVersion: "v1"},
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: "uid-of-node"},
	})
}

func (f *fakeAPI) serveEvent(w http.ResponseWriter, r *http.Request) {
	var ev corev1.Event
	body, err := io.ReadAll(r.Body)
	if err == nil {
		_, _, err = scheme.Codecs.UniversalDeserializer().Decode(body, nil, &ev)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.creates++
	if _, ok := f.events[ev.Name]; ok {
		fail(w, apierrors.NewAlreadyExists(schema.GroupResource{Resource: "events"}, ev.Name))
		return
	}
	f.events[ev.Name] = ev
	ev.Kind, ev.APIVersion = "Event", "v1"
	reply(w, http.StatusCreated, &ev)
}

func (f *fakeAPI) serveList(w http.ResponseWriter, resource string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	kinds := map[string][2]string{
		"pods": {"PodList", "v1"}, "namespaces": {"NamespaceList", "v1"},
		"networkpolicies": {"NetworkPolicyList", "networking.k8s.io/v1"},
	}
	items := []client.Object{}
	for _, o := range f.objects[resource] {
		items = append(items, o)
	}
	reply(w, http.StatusOK, map[string]any{
		"kind": kinds[resource][0], "apiVersion": kinds[resource][1],
		"metadata": map[string]string{"resourceVersion": strconv.Itoa(f.version)}, "items": items,
	})
}

func (f *fakeAPI) serveWatch(w http.ResponseWriter, r *http.Request, resource string) {
	if r.URL.Query().Get("sendInitialEvents") == "true" {
		// Answers like an API server that cannot stream lists: the client falls back to list and watch.
		fail(w, apierrors.NewInvalid(schema.GroupKind{}, "", nil))
		return
	}
	ch := make(chan watchEvent, 1000)
	f.mu.Lock()
	from, _ := strconv.Atoi(r.URL.Query().Get("resourceVersion"))
	for _, o := range f.objects[resource] {
		if v, _ := strconv.Atoi(o.GetResourceVersion()); v > from {
			ch <- watchEvent{"MODIFIED", o}
		}
	}
	f.watchers[resource][ch] = struct{}{}
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		delete(f.watchers[resource], ch)
		f.mu.Unlock()
	}()
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	flush := http.NewResponseController(w)
	_ = flush.Flush()
	for {
		select {
		case <-r.Context().Done():
			return
		case ev, ok := <-ch:
			if !ok {
				return
			}
			if json.NewEncoder(w).Encode(ev) != nil || flush.Flush() != nil {
				return
			}
		}
	}
}
