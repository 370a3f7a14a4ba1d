package sync

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/netpol-agent/netpol-agent/internal/neighbour"
)

// neighbourMonitor looks for other engines that judge this node's pods as well, at start and from time to time,
// and tells when that has changed. It only tells: two engines open nothing, because a packet must pass both.
type neighbourMonitor struct {
	look  func() (neighbour.Names, error)
	every time.Duration
	log   *slog.Logger
	// present sets what is found of each engine: 1 or 0.
	present func(engine neighbour.Engine, value float64)
	// event emits an Event about the Node.
	event func(message string)

	known  []neighbour.Engine
	failed bool
}

func (m *neighbourMonitor) run(ctx context.Context) {
	tick := time.NewTicker(m.every)
	defer tick.Stop()
	for {
		m.check()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// check looks once. What could not be read is no news: the former finding stands.
func (m *neighbourMonitor) check() {
	names, err := m.look()
	if err != nil {
		if !m.failed {
			m.log.Warn("cannot look for other policy engines", "error", err)
		}
		m.failed = true
		return
	}
	m.failed = false
	findings := neighbour.Find(names)
	now := make([]neighbour.Engine, len(findings))
	for i, f := range findings {
		now[i] = f.Engine
	}
	for _, e := range neighbour.Engines() {
		m.present(e, boolValue(slices.Contains(now, e)))
	}
	m.tell(findings, now)
	m.known = now
}

// tell says what has come and what has gone. The evidence may change with every policy of the other engine; that
// is no news.
func (m *neighbourMonitor) tell(findings []neighbour.Finding, now []neighbour.Engine) {
	var texts []string
	news := false
	for _, f := range findings {
		texts = append(texts, f.String())
		if !slices.Contains(m.known, f.Engine) {
			news = true
			m.log.Warn("another policy engine has rules on this node: a packet must pass both", "engine", f.Engine,
				"known_as", f.Says, "found", f.Evidence)
		}
	}
	for _, e := range m.known {
		if !slices.Contains(now, e) {
			m.log.Info("another policy engine is gone from this node", "engine", e)
		}
	}
	if news {
		m.event("Another policy engine has rules on this node, and a packet must pass both. Keep one engine; rules that one " +
			"left behind are removed by its own cleanup. Found " + strings.Join(texts, "; "))
	}
}

// engineNames gives the label values of the engines.
func engineNames() []string {
	var out []string
	for _, e := range neighbour.Engines() {
		out = append(out, string(e))
	}
	return out
}
