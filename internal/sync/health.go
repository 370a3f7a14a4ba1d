package sync

import (
	"fmt"
	"strings"
	"sync"
	"time"
)

// Health collects what decides over liveness and readiness. It is safe for concurrent use, so that a probe
// gets its answer also while the engine is busy or stuck.
type Health struct {
	// AliveWithin is how long the engine may go without a turn of its loop.
	aliveWithin time.Duration
	// FailingFor is how long transactions may fail before the agent calls itself not ready.
	failingFor time.Duration
	// SilentFor is how long the API server may be out of reach before the agent calls itself not ready.
	silentFor time.Duration

	mu       sync.Mutex
	beat     time.Time
	start    string
	synced   bool
	written  time.Time
	failing  time.Time
	failure  error
	bridge   error
	api      map[string]*contact
	draining bool
}

// contact is how one kind of request to the API server fares.
type contact struct {
	ok    time.Time // last success
	bad   time.Time // first failure since then
	cause string
}

// NewHealth gives the health of an agent that has just started. Zero durations take their defaults: 60 s
// without a heartbeat, 10 s of failing transactions, 45 s without the API server.
func NewHealth(aliveWithin, failingFor, silentFor time.Duration) *Health {
	return &Health{
		aliveWithin: orDefault(aliveWithin, 60*time.Second),
		failingFor:  orDefault(failingFor, 10*time.Second),
		silentFor:   orDefault(silentFor, 45*time.Second),
		beat:        time.Now(),
		start:       "start checks are not done",
		api:         map[string]*contact{},
	}
}

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// Beat says that the engine's loop has made a turn.
func (h *Health) Beat() { h.with(func() { h.beat = time.Now() }) }

// Starting says what the start is waiting for; an empty text says that it waits for nothing.
func (h *Health) Starting(reason string) { h.with(func() { h.start = reason }) }

// Synced says that every cache holds what the cluster has.
func (h *Health) Synced() { h.with(func() { h.synced = true }) }

// Wrote says that kernel and program were equal at this moment.
func (h *Health) Wrote() {
	h.with(func() {
		h.written = time.Now()
		h.failing, h.failure = time.Time{}, nil
	})
}

// Failed says that a transaction failed.
func (h *Health) Failed(err error) {
	h.with(func() {
		if h.failure == nil {
			h.failing = time.Now()
		}
		h.failure = err
	})
}

// Bridge says whether bridged packets of local pods reach the rules; nil if they do.
func (h *Health) Bridge(err error) { h.with(func() { h.bridge = err }) }

// Draining says that the agent is about to end.
func (h *Health) Draining() { h.with(func() { h.draining = true }) }

// Contact says how a request to the API server ended. What names the kind of request ("watch pods"); each
// kind counts for itself, because a watch that may not be opened leaves stale state although others go on.
// It says whether that is news.
func (h *Health) Contact(what string, err error) (changed bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.api[what]
	if c == nil {
		c = &contact{}
		h.api[what] = c
	}
	now := time.Now()
	if err == nil {
		changed = !c.bad.IsZero()
		*c = contact{ok: now}
		return changed
	}
	if changed = c.bad.IsZero(); changed {
		c.bad = now
	}
	c.cause = err.Error()
	return changed
}

func (h *Health) with(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f()
}

// Alive gives nil as long as the engine makes progress.
func (h *Health) Alive() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if d := time.Since(h.beat); d > h.aliveWithin {
		return fmt.Errorf("the engine has made no progress for %s (limit %s)", d.Round(time.Second), h.aliveWithin)
	}
	return nil
}

// LastWrite gives when kernel and program were last known to be equal; zero if never.
func (h *Health) LastWrite() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.written
}

// NotReady gives every reason why the agent is not ready; none if it is.
func (h *Health) NotReady() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []string
	no := func(format string, args ...any) {
		out = append(out, strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "; "))
	}
	if h.draining {
		no("the agent is ending; its rules stay")
	}
	switch {
	case h.start != "":
		no("%s", h.start)
	case !h.synced:
		no("the caches are not in sync with the cluster: nothing new is written, rules of a former run stay in force")
	case h.written.IsZero():
		no("the first rules are not written")
	}
	if d := time.Since(h.failing); h.failure != nil && (d >= h.failingFor || h.written.IsZero()) {
		no("transactions fail since %s: %v", d.Round(time.Millisecond), h.failure)
	}
	if h.bridge != nil {
		no("%v", h.bridge)
	}
	return append(out, h.unreachable()...)
}

func (h *Health) unreachable() []string {
	var out []string
	for _, what := range sortedKeys(h.api) {
		c := h.api[what]
		if c.bad.IsZero() {
			continue
		}
		if d := time.Since(c.bad); d >= h.silentFor || c.ok.IsZero() {
			out = append(out, fmt.Sprintf("API server: %s fails since %s: %s", what, d.Round(time.Millisecond), c.cause))
		}
	}
	return out
}

// Reachable says whether the last request of every kind succeeded, and there was one.
func (h *Health) Reachable() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.api {
		if !c.bad.IsZero() {
			return false
		}
	}
	return len(h.api) > 0
}
