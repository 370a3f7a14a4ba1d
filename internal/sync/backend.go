package sync

import (
	"fmt"
	"runtime/debug"
)

// guard turns a panic of f into an error that holds the stack: a defect in the renderer must not take the
// agent into a crash loop, in which it would enforce nothing new at all.
func guard(f func() error) (err error) {
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
