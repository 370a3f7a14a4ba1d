package sync

import (
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/netpol-agent/netpol-agent/internal/render"
	"github.com/netpol-agent/netpol-agent/internal/sync/report"
	"github.com/netpol-agent/netpol-agent/test/agenttest"
)

// TestRunSweepsWhatOthersLeft makes the first removal of another backend's rules fail. The failure is reported and the
// removal tried again, and the agent is ready all the same. Nothing is removed before the first rules are written.
func TestRunSweepsWhatOthersLeft(t *testing.T) {
	b := &agenttest.Backend{}
	b.Set(func(b *agenttest.Backend) {
		b.Fail = func(n int) error { return map[bool]error{true: agenttest.ErrKernel}[n < 2] }
	})
	cfg := testConfig(t, newFakeAPI(t, agenttest.Node).config(), b)
	var tries atomic.Int32
	cfg.OpenBackend = func(render.Observer) (*render.Opened, error) {
		return &render.Opened{Backend: b, Name: "fake", Reason: "a test", Sweep: func() ([]string, error) {
			if calls := b.Calls(); len(calls) < 3 {
				t.Errorf("swept after %d writes, of which none succeeded", len(calls))
			}
			if tries.Add(1) < 2 {
				return nil, errors.New("the lock is held")
			}
			return []string{"4 chains"}, nil
		}}, nil
	}
	r := start(t, cfg)
	agenttest.Eventually(t, "the failure is reported", func() bool {
		s := r.status(t)
		return s != nil && slices.ContainsFunc(s.Leftovers, func(l string) bool { return strings.Contains(l, "the lock is held") })
	})
	if !r.ready(t) {
		t.Error("leftovers keep the agent from being ready")
	}
	if _, body := get(t, r.cfg.MetricsAddr, "/metrics"); !strings.Contains(body, "\nnetpol_agent_backend_leftovers 1\n") {
		t.Error("the metric does not count the leftovers")
	}
	writes := len(b.Calls())
	agenttest.Eventually(t, "tried again", func() bool { s := r.status(t); return s != nil && len(s.Leftovers) == 0 && tries.Load() == 2 })
	agenttest.Eventually(t, "compared after the removal", func() bool { return len(b.Calls()) > writes })
}

// status returns the agent's status, or nil as long as it does not answer.
func (r *running) status(t *testing.T) *report.Status {
	t.Helper()
	s, err := report.FetchStatus(t.Context(), r.cfg.StatusSocket)
	if err != nil {
		return nil
	}
	return s
}
