package clustergen

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/yaml"

	"github.com/netpol-agent/netpol-agent/test/oracle"
)

// Event is one notification of an informer about one object: exactly one of the three objects is set.
type Event struct {
	Pod       *corev1.Pod
	Namespace *corev1.Namespace
	Policy    *networkingv1.NetworkPolicy
	// Delete reports that the object is gone; its content may then be of another version than the last one reported,
	// as after a lost watch. Otherwise the object was created or changed, or is reported again.
	Delete bool
}

// History is a sequence of events that starts at an empty cluster. Like informers, it may report an object's state
// twice, skip states, and replace an object by a new one of the same name without reporting that the old one is gone.
type History struct {
	Events []Event
	// Final is the state after all events; the addresses of the nodes never change.
	Final oracle.State
}

// After returns the state after the first n events, its lists in the order of the objects' names. The state shares
// the objects with the events.
func (h History) After(n int) oracle.State {
	w := world{}
	for _, e := range h.Events[:n] {
		w.apply(e)
	}
	return w.state(h.Final.NodeAddrs)
}

// Key returns the kind and the name of the event's object.
func (e Event) Key() string {
	switch {
	case e.Pod != nil:
		return "Pod " + e.Pod.Namespace + "/" + e.Pod.Name
	case e.Policy != nil:
		return "NetworkPolicy " + e.Policy.Namespace + "/" + e.Policy.Name
	default:
		return "Namespace " + e.Namespace.Name
	}
}

// GoString returns the event for the message of a failed property: what happened, and the object as YAML.
func (e Event) GoString() string {
	if e.Delete {
		return "delete " + e.Key() + "\n"
	}
	var object any = e.Namespace
	if e.Pod != nil {
		object = e.Pod
	} else if e.Policy != nil {
		object = e.Policy
	}
	text, err := yaml.Marshal(object)
	if err != nil {
		text = []byte(err.Error())
	}
	return "set " + e.Key() + "\n    " + strings.ReplaceAll(strings.TrimSpace(string(text)), "\n", "\n    ") + "\n"
}

// GoString returns the events for the message of a failed property.
func (h History) GoString() string {
	var b strings.Builder
	for i, e := range h.Events {
		fmt.Fprintf(&b, "\n# event %d: %#v", i, e)
	}
	fmt.Fprintf(&b, "\n# final state:%#v", h.Final)
	return b.String()
}
