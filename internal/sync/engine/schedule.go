package engine

import (
	"math"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

const (
	retryFirst = 10 * time.Millisecond
	retryMost  = 30 * time.Second
	// updateFloor is the least time between a failed try and the next one that a new update brings forward.
	updateFloor = 100 * time.Millisecond
	// dutyCycle bounds the cost of repeated work: after work that took d, the same work does not start again for
	// dutyCycle times d. Otherwise programs that change nftables often would keep us comparing.
	dutyCycle = 20
)

// retry says when a failed transaction is tried again: after 10 ms, then after twice as long each time up to 30 s, each
// with up to half of it added at random, so that nodes do not fall into step. A new update brings the next try forward,
// because it may remove the cause, but not closer than updateFloor.
type retry struct {
	failures int
	backoff  wait.Backoff
	last     time.Time
	took     time.Duration
	at       time.Time
}

func (r *retry) reset() { *r = retry{} }

// failed records a try that began at start and failed just now.
func (r *retry) failed(start time.Time) {
	if r.failures == 0 {
		r.backoff = wait.Backoff{Duration: retryFirst, Factor: 2, Jitter: 0.5, Cap: retryMost * 2 / 3, Steps: math.MaxInt}
	}
	r.failures++
	r.last = time.Now()
	r.took = r.last.Sub(start)
	r.at = r.last.Add(r.backoff.Step())
}

// arrived records that an update arrived.
func (r *retry) arrived() {
	if r.failures == 0 {
		return
	}
	if t := r.last.Add(max(updateFloor, 4*r.took)); t.Before(r.at) {
		r.at = t
	}
}

// waiting reports whether there is a next try that is not due yet.
func (r *retry) waiting(now time.Time) bool { return r.failures > 0 && now.Before(r.at) }
