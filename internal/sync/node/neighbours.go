package node

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/netpol-agent/netpol-agent/internal/neighbour"
)

// Neighbours looks for other policy engines that judge this node's pods as well, at start and from time to time, and
// tells what has changed. Nothing follows from it: two engines open nothing, because a packet must pass both.
type Neighbours struct {
	Look  func() (neighbour.Names, error)
	Every time.Duration
	Log   *slog.Logger
	// Present takes, after each look, whether an engine was found.
	Present func(engine neighbour.Engine, found bool)
	// Event emits an Event on the Node.
	Event func(message string)

	known  []neighbour.Engine
	failed bool
}

// Run works until ctx ends.
func (m *Neighbours) Run(ctx context.Context) {
	tick := time.NewTicker(m.Every)
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

// check looks once. If the kernel cannot be read, the former finding stands.
func (m *Neighbours) check() {
	names, err := m.Look()
	if err != nil {
		if !m.failed {
			m.Log.Warn("cannot look for other policy engines", "error", err)
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
		m.Present(e, slices.Contains(now, e))
	}
	m.tell(findings, now)
	m.known = now
}

// tell tells which engines have come and gone. Their evidence may change with every policy, which is not news.
func (m *Neighbours) tell(findings []neighbour.Finding, now []neighbour.Engine) {
	var texts []string
	news := false
	for _, f := range findings {
		texts = append(texts, f.String())
		if !slices.Contains(m.known, f.Engine) {
			news = true
			m.Log.Warn("another policy engine has rules on this node: a packet must pass both", "engine", f.Engine,
				"known_as", f.Says, "found", f.Evidence)
		}
	}
	for _, e := range m.known {
		if !slices.Contains(now, e) {
			m.Log.Info("another policy engine is gone from this node", "engine", e)
		}
	}
	if news {
		m.Event("Another policy engine has rules on this node, and a packet must pass both. Keep one engine; rules that one " +
			"left behind are removed by its own cleanup. Found " + strings.Join(texts, "; "))
	}
}
