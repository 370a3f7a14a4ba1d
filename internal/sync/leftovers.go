package sync

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"
)

// Kinds of what is left over.
const (
	leftSets  = "sets that no rule of ours names"
	leftRules = "rules of another backend"
)

const (
	sweepFirst = time.Second
	sweepMost  = 30 * time.Second
)

// leftovers is what should be gone from the node and could not be removed yet. It keeps nothing from being enforced,
// but rules of another backend judge packets by what they knew last. It is safe for concurrent use.
type leftovers struct {
	metrics *Metrics
	log     *slog.Logger
	once    sync.Once
	begun   chan struct{}

	mu  sync.Mutex
	why map[string]string
}

func newLeftovers(m *Metrics, log *slog.Logger) *leftovers {
	return &leftovers{metrics: m, log: log, begun: make(chan struct{}), why: map[string]string{}}
}

// enforced says that the renderer in use enforces: from now on nothing opens if the others' rules go.
func (l *leftovers) enforced() { l.once.Do(func() { close(l.begun) }) }

// note says why something of a kind is left, or that nothing is; it tells what is new.
func (l *leftovers) note(kind string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	was := l.why[kind]
	switch {
	case err == nil && was != "":
		delete(l.why, kind)
		l.log.Info("nothing is left over any more", "what", kind)
	case err != nil && err.Error() != was:
		l.why[kind] = err.Error()
		l.log.Warn("could not remove what is left over, trying again", "what", kind, "error", err)
	}
	l.metrics.Leftovers.Set(float64(len(l.why)))
}

// list gives what is left and why.
func (l *leftovers) list() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []string
	for _, kind := range slices.Sorted(maps.Keys(l.why)) {
		out = append(out, kind+": "+l.why[kind])
	}
	return out
}

// sweep removes what other renderers left, as soon as the one in use enforces, and tries until it is done.
func (a *agent) sweep(ctx context.Context) {
	if a.backend.Sweep == nil {
		return
	}
	select {
	case <-ctx.Done():
		return
	case <-a.leftovers.begun:
	}
	for pause := sweepFirst; ; pause = min(2*pause, sweepMost) {
		var removed []string
		err := guard(func() (err error) { removed, err = a.backend.Sweep(); return err })
		for _, what := range removed {
			a.log.Info("removed what another backend left", "what", what)
		}
		a.leftovers.note(leftRules, err)
		if len(removed) > 0 {
			// Sets that those rules named can go now.
			_ = a.engine.Do(ctx, func() { a.engine.resync = reasonSwept })
		}
		if err == nil || !sleep(ctx, pause) {
			return
		}
	}
}
