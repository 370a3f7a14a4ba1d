package wait

import "sync"

// Mailbox hands the latest value from any goroutine to one other. A value that nobody took is replaced by the next.
type Mailbox[T any] struct {
	mu    sync.Mutex
	value T
	wake  chan struct{}
}

// NewMailbox returns a mailbox that holds the zero value.
func NewMailbox[T any]() *Mailbox[T] { return &Mailbox[T]{wake: make(chan struct{}, 1)} }

// Put replaces the value. It never blocks.
func (m *Mailbox[T]) Put(v T) {
	m.mu.Lock()
	m.value = v
	m.mu.Unlock()
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// Wake returns a channel that can be received from once after one or more calls of Put.
func (m *Mailbox[T]) Wake() <-chan struct{} { return m.wake }

// Get returns the latest value. The mailbox keeps it.
func (m *Mailbox[T]) Get() T {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.value
}
