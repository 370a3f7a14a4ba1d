// Package wait holds the two ways in which the agent's goroutines wait: for time to pass, and for a new value.
//
// It does not decide how long anybody waits.
package wait

import (
	"context"
	"time"
)

// Sleep waits for d. It reports whether d has passed: false means that ctx ended first.
func Sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
