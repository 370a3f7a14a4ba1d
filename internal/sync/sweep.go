package sync

import (
	"context"
	"time"

	"github.com/netpol-agent/netpol-agent/internal/sync/engine"
	"github.com/netpol-agent/netpol-agent/internal/wait"
)

const (
	sweepFirst = time.Second
	sweepMost  = 30 * time.Second
)

// sweep removes what backends that are not in use left, once the one in use enforces. It tries until it succeeds.
func (a *agent) sweep(ctx context.Context) {
	if a.backend.Sweep == nil {
		return
	}
	select {
	case <-ctx.Done():
		return
	case <-a.enforcing:
	}
	for pause := sweepFirst; ; pause = min(2*pause, sweepMost) {
		removed, err := engine.Guard(a.backend.Sweep)
		for _, what := range removed {
			a.log.Info("removed what another backend left", "what", what)
		}
		a.leftovers.Note("rules of another backend", err)
		if len(removed) > 0 {
			_ = a.engine.BackendSwept(ctx) // fails only if the agent ends
		}
		if err == nil || !wait.Sleep(ctx, pause) {
			return
		}
	}
}
