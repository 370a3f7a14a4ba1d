package report

import (
	"log/slog"
	"maps"
	"slices"
	"sync"
)

// Leftovers collects what should be gone from the node and could not be removed yet. It prevents nothing from being
// enforced, but rules of another backend still judge packets by their last state. It is safe for concurrent use.
type Leftovers struct {
	metrics *Metrics
	log     *slog.Logger

	mu  sync.Mutex
	why map[string]string
}

// NewLeftovers returns the leftovers of a node on which nothing is known to be left.
func NewLeftovers(m *Metrics, log *slog.Logger) *Leftovers {
	return &Leftovers{metrics: m, log: log, why: map[string]string{}}
}

// Note records why something of a kind is left, or with nil that nothing is. It logs what is new.
func (l *Leftovers) Note(kind string, err error) {
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

// List returns what is left, and why.
func (l *Leftovers) List() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []string
	for _, kind := range slices.Sorted(maps.Keys(l.why)) {
		out = append(out, kind+": "+l.why[kind])
	}
	return out
}
