package report

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netpol-agent/netpol-agent/test/agenttest"
)

// readyHealth returns the health of an agent that enforces.
func readyHealth() *Health {
	h := NewHealth(0)
	h.Starting("")
	h.Synced()
	h.Wrote()
	return h
}

func TestReadinessReasons(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(*Health)
		want string // "" means ready
	}{
		"enforcing":         {func(*Health) {}, ""},
		"ending":            {(*Health).Draining, "shutting down"},
		"bridge":            {func(h *Health) { h.Bridge(errors.New("br_netfilter is not loaded")) }, "br_netfilter"},
		"bridge well again": {func(h *Health) { h.Bridge(errors.New("x")); h.Bridge(nil) }, ""},
		"one failure":       {func(h *Health) { h.Failed(agenttest.ErrKernel) }, ""},
		"failing for 9 s": {func(h *Health) {
			h.Failed(agenttest.ErrKernel)
			time.Sleep(9 * time.Second)
			h.Failed(agenttest.ErrKernel)
		}, ""},
		"failing for 10 s":        {func(h *Health) { h.Failed(agenttest.ErrKernel); time.Sleep(10 * time.Second) }, agenttest.ErrKernel.Error()},
		"failed, then succeeded":  {func(h *Health) { h.Failed(agenttest.ErrKernel); time.Sleep(time.Minute); h.Wrote() }, ""},
		"request failed":          {func(h *Health) { h.Contact("get node", nil); h.Contact("get node", agenttest.ErrKernel) }, ""},
		"request never succeeded": {func(h *Health) { h.Contact("list pods", agenttest.ErrKernel) }, "list pods"},
		"requests fail for 45 s": {func(h *Health) {
			h.Contact("a", nil)
			h.Contact("a", agenttest.ErrKernel)
			time.Sleep(45 * time.Second)
		}, "API server: a"},
		"one of two kinds fails for 45 s": {func(h *Health) {
			h.Contact("a", nil)
			h.Contact("a", agenttest.ErrKernel)
			time.Sleep(45 * time.Second)
			h.Contact("b", nil)
		}, "API server: a"},
		"requests succeed again": {func(h *Health) {
			h.Contact("a", nil)
			h.Contact("a", agenttest.ErrKernel)
			time.Sleep(time.Hour)
			h.Contact("a", nil)
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := readyHealth()
				c.do(h)
				reasons := h.NotReady()
				if (c.want == "") != (len(reasons) == 0) || !strings.Contains(strings.Join(reasons, "\n"), c.want) {
					t.Errorf("reasons %q, want one that says %q", reasons, c.want)
				}
			})
		})
	}
}

func TestReadinessBeforeTheFirstWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHealth(0)
		for _, step := range []struct {
			want string
			do   func()
		}{
			{"start checks", func() { h.Starting("waiting for x") }},
			{"waiting for x", func() { h.Starting("") }},
			{"caches are not in sync", h.Synced},
			{"first rules are not written", func() { h.Failed(agenttest.ErrKernel) }},
			// There are no rules to fall back on: the first failure counts.
			{agenttest.ErrKernel.Error(), h.Wrote},
		} {
			if got := strings.Join(h.NotReady(), "\n"); !strings.Contains(got, step.want) {
				t.Errorf("reasons %q, want %q", got, step.want)
			}
			step.do()
		}
		if got := h.NotReady(); len(got) != 0 {
			t.Errorf("reasons %q", got)
		}
	})
}

func TestLiveness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHealth(0)
		time.Sleep(60 * time.Second)
		if err := h.Alive(); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		if h.Alive() == nil {
			t.Error("alive after 61 s without a heartbeat")
		}
		h.Beat()
		if err := h.Alive(); err != nil {
			t.Error(err)
		}
	})
}

func TestHealthHandler(t *testing.T) {
	h := readyHealth()
	ask := func(path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w
	}
	if w := ask("/readyz"); w.Code != http.StatusOK || w.Body.String() != "ok\n" {
		t.Errorf("%d %q", w.Code, w.Body)
	}
	h.Bridge(errors.Join(errors.New("IPv4"), errors.New("IPv6")))
	h.Draining()
	if w := ask("/readyz"); w.Code != http.StatusServiceUnavailable || strings.Count(w.Body.String(), "\n") != 2 {
		t.Errorf("want 503 and one reason a line, got %d %q", w.Code, w.Body)
	}
	if w := ask("/healthz"); w.Code != http.StatusOK {
		t.Errorf("%d %q", w.Code, w.Body)
	}
	h.with(func() { h.beat = time.Now().Add(-time.Hour) })
	if w := ask("/healthz"); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "progress") {
		t.Errorf("%d %q", w.Code, w.Body)
	}
}
