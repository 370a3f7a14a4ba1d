package engine

import (
	"errors"
	"fmt"
	"runtime/debug"
)

// Guard returns what f returns, or a panic of f as an error that holds the stack. A bug in a renderer must not send the
// agent into a crash loop, in which it would enforce nothing new at all.
func Guard[T any](f func() (T, error)) (out T, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = &panicError{value: r, stack: debug.Stack()}
		}
	}()
	return f()
}

// panicError is a panic that was caught.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("internal error: %v", e.value) }

// logged returns an error as attributes of a log message, with the stack if it was a panic.
func logged(err error) []any {
	attrs := []any{"error", err}
	var p *panicError
	if errors.As(err, &p) {
		attrs = append(attrs, "stack", string(p.stack))
	}
	return attrs
}
