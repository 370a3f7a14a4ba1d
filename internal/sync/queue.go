package sync

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Kind is the kind of thing that an Event is about.
type Kind uint8

const (
	// Pod events carry a *corev1.Pod.
	Pod Kind = iota
	// Namespace events carry a *corev1.Namespace.
	Namespace
	// Policy events carry a *networkingv1.NetworkPolicy.
	Policy
	// NodeAddrs events carry the []netip.Addr of this node; their Key has no name.
	NodeAddrs
	// Bridges events carry the []string of bridges that this node's pods hang on; their Key has no name.
	Bridges
)

// String gives the kind as the API spells it.
func (k Kind) String() string {
	switch k {
	case Pod:
		return "Pod"
	case Namespace:
		return "Namespace"
	case Policy:
		return "NetworkPolicy"
	case Bridges:
		return "Bridges"
	default:
		return "NodeAddresses"
	}
}

// Key names one thing that changes.
type Key struct {
	Kind Kind
	types.NamespacedName
}

// Event says that something has a new state.
type Event struct {
	Key Key
	// Object is the new state; nil means that the object is gone. Nobody changes it afterwards.
	Object any
	// At is when the agent learned of it.
	At time.Time
}

// Queue hands events from many goroutines to one. It holds at most one event a key, the latest; that one
// keeps the place and the time of the first, so that the measured delay is the longest that anybody waited.
type Queue struct {
	mu     sync.Mutex
	place  map[Key]int
	events []Event
	wake   chan struct{}
}

// NewQueue gives an empty queue.
func NewQueue() *Queue {
	return &Queue{place: map[Key]int{}, wake: make(chan struct{}, 1)}
}

// Put adds an event, or replaces the one that waits for the same key. It never blocks.
func (q *Queue) Put(ev Event) {
	q.mu.Lock()
	if i, ok := q.place[ev.Key]; ok {
		ev.At = q.events[i].At
		q.events[i] = ev
	} else {
		q.place[ev.Key] = len(q.events)
		q.events = append(q.events, ev)
	}
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// Take gives all waiting events, in the order in which their keys first came, and empties the queue.
func (q *Queue) Take() []Event {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.events) == 0 {
		return nil
	}
	out := q.events
	q.events = nil
	q.place = map[Key]int{}
	return out
}

// Len gives the number of waiting events.
func (q *Queue) Len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.events)
}

// Wake gives a channel that has something to receive after each Put since the last receive.
func (q *Queue) Wake() <-chan struct{} { return q.wake }
