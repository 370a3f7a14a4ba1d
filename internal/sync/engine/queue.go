package engine

import (
	"sync"

	"github.com/netpol-agent/netpol-agent/internal/sync/source"
)

// Queue passes updates from many goroutines to one. It holds at most one update for each key, the latest. That one
// keeps the place and the time of the first, so that the measured delay is the longest that anybody has waited.
type Queue struct {
	mu      sync.Mutex
	index   map[source.Key]int
	updates []source.Update
	wake    chan struct{}
}

// NewQueue returns an empty queue.
func NewQueue() *Queue {
	return &Queue{index: map[source.Key]int{}, wake: make(chan struct{}, 1)}
}

// Put adds an update, or replaces the one that waits for the same key. It never blocks.
func (q *Queue) Put(u source.Update) {
	q.mu.Lock()
	if i, ok := q.index[u.Key]; ok {
		u.At = q.updates[i].At
		q.updates[i] = u
	} else {
		q.index[u.Key] = len(q.updates)
		q.updates = append(q.updates, u)
	}
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// Take empties the queue and returns its updates, in the order in which their keys first came.
func (q *Queue) Take() []source.Update {
	q.mu.Lock()
	defer q.mu.Unlock()
	out := q.updates
	if len(out) > 0 {
		q.updates, q.index = nil, map[source.Key]int{}
	}
	return out
}

// Len returns the number of waiting updates.
func (q *Queue) Len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.updates)
}

// Wake returns a channel that can be received from once after one or more calls of Put.
func (q *Queue) Wake() <-chan struct{} { return q.wake }
