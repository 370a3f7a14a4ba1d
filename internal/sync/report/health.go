package report

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// aliveWithin is how long a turn of the engine's loop may take.
	aliveWithin = 60 * time.Second
	// failingFor is how long transactions may fail before the agent is not ready.
	failingFor = 10 * time.Second
)

// Health collects what decides over liveness and readiness. It is safe for concurrent use, so that a probe is answered
// even while the engine is busy or stuck.
type Health struct {
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

// NewHealth returns the health of an agent that has just started. SilentFor is how long the API server may be
// unreachable before the agent is not ready; 0 means 45 s.
func NewHealth(silentFor time.Duration) *Health {
	return &Health{
		silentFor: cmp.Or(silentFor, 45*time.Second),
		beat:      time.Now(),
		start:     "the start checks are not done",
		api:       map[string]*contact{},
	}
}

// Beat records a turn of the engine's loop.
func (h *Health) Beat() { h.with(func() { h.beat = time.Now() }) }

// Starting records what the start is waiting for, or with an empty text that it is done.
func (h *Health) Starting(reason string) { h.with(func() { h.start = reason }) }

// Synced records that every cache holds what the cluster has.
func (h *Health) Synced() { h.with(func() { h.synced = true }) }

// Wrote records that kernel and program are equal now.
func (h *Health) Wrote() {
	h.with(func() {
		h.written = time.Now()
		h.failing, h.failure = time.Time{}, nil
	})
}

// Failed records a failed transaction.
func (h *Health) Failed(err error) {
	h.with(func() {
		if h.failure == nil {
			h.failing = time.Now()
		}
		h.failure = err
	})
}

// Bridge records why bridged packets of local pods do not reach the rules, or with nil that they do.
func (h *Health) Bridge(err error) { h.with(func() { h.bridge = err }) }

// Draining records that the agent is about to exit.
func (h *Health) Draining() { h.with(func() { h.draining = true }) }

// Contact records how a request to the API server ended, and reports whether that is news. What names the kind of
// request ("watch pods"). Each kind counts on its own: if one watch cannot be opened its objects are stale, although
// the others go on.
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

// Alive returns nil as long as the engine makes progress.
func (h *Health) Alive() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if d := time.Since(h.beat); d > aliveWithin {
		return fmt.Errorf("the engine has made no progress for %s (limit %s)", d.Round(time.Second), aliveWithin)
	}
	return nil
}

// LastWrite returns when kernel and program were last known to be equal. It is zero if they never were.
func (h *Health) LastWrite() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.written
}

// NotReady returns every reason why the agent is not ready, or nothing if it is.
func (h *Health) NotReady() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []string
	no := func(format string, args ...any) {
		out = append(out, strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "; "))
	}
	if h.draining {
		no("the agent is shutting down; its rules stay")
	}
	switch {
	case h.start != "":
		no("%s", h.start)
	case !h.synced:
		no("the caches are not in sync with the cluster: nothing new is written, rules of a former run stay in force")
	case h.written.IsZero():
		no("the first rules are not written")
	}
	if d := time.Since(h.failing); h.failure != nil && (d >= failingFor || h.written.IsZero()) {
		no("transactions fail since %s: %v", d.Round(time.Millisecond), h.failure)
	}
	if h.bridge != nil {
		no("%v", h.bridge)
	}
	for _, what := range slices.Sorted(maps.Keys(h.api)) {
		c := h.api[what]
		if d := time.Since(c.bad); !c.bad.IsZero() && (d >= h.silentFor || c.ok.IsZero()) {
			no("API server: %s fails since %s: %s", what, d.Round(time.Millisecond), c.cause)
		}
	}
	return out
}

// Reachable reports whether there was a request to the API server and the last one of each kind succeeded.
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

// Handler answers /healthz and /readyz with 200, or with 503 and one reason a line.
func (h *Health) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if err := h.Alive(); err != nil {
			answer(w, []string{err.Error()})
			return
		}
		answer(w, nil)
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { answer(w, h.NotReady()) })
	return mux
}

func answer(w http.ResponseWriter, reasons []string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	body := "ok"
	if len(reasons) > 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
		body = strings.Join(reasons, "\n")
	}
	_, _ = io.WriteString(w, body+"\n")
}
