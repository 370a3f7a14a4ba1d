package sync

import (
	"math"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

const (
	retryFirst = 10 * time.Millisecond
	retryMost  = 30 * time.Second
	// eventFloor is the least time between a failed try and the next one that a new event brings forward.
	eventFloor = 100 * time.Millisecond
	// dutyCycle bounds what repeated work may cost: after work that took d, the same is not begun again for
	// dutyCycle times d. Other programs that change nftables often would otherwise keep us comparing.
	dutyCycle = 20
)

// retry says when a failed transaction is tried again: 10 ms later, then twice as long each time up to 30 s,
// each with up to half of it added at random so that nodes do not fall into step. A new event brings the
// next try forward, because it may be what heals the failure, but never closer than eventFloor.
type retry struct {
	failures int
	backoff  wait.Backoff
	last     time.Time
	took     time.Duration
	at       time.Time
}

func (r *retry) reset() { *r = retry{} }

// failed notes a try that began at start and failed just now.
func (r *retry) failed(start time.Time) {
	if r.failures == 0 {
		r.backoff = wait.Backoff{Duration: retryFirst, Factor: 2, Jitter: 0.5, Cap: retryMost * 2 / 3, Steps: math.MaxInt}
	}
	r.failures++
	r.last = time.Now()
	r.took = r.last.Sub(start)
	r.at = r.last.Add(r.backoff.Step())
}

// event notes that something new came.
func (r *retry) event() {
	if r.failures == 0 {
		return
	}
	if t := r.last.Add(max(eventFloor, 4*r.took)); t.Before(r.at) {
		r.at = t
	}
}

// waiting says whether the next try is not due yet.
func (r *retry) waiting(now time.Time) bool { return r.failures > 0 && now.Before(r.at) }
