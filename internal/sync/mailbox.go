package sync

import "sync"

// mailbox hands the latest value, and only that, from one goroutine to another.
type mailbox[T any] struct {
	mu    sync.Mutex
	value T
	wake  chan struct{}
}

func newMailbox[T any]() *mailbox[T] { return &mailbox[T]{wake: make(chan struct{}, 1)} }

// put replaces the value. It never blocks.
func (m *mailbox[T]) put(v T) {
	m.mu.Lock()
	m.value = v
	m.mu.Unlock()
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// take gives the latest value.
func (m *mailbox[T]) take() T {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.value
}
