package sync

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path"
	"time"
)

// contactRecorder notes how each list and watch ends, so that readiness tells what the informers live
// through instead of what a request of its own would.
type contactRecorder struct {
	next   http.RoundTripper
	report func(what string, err error)
}

// RoundTrip implements http.RoundTripper.
func (c contactRecorder) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := c.next.RoundTrip(req)
	if req.Method != http.MethodGet || errors.Is(err, context.Canceled) {
		return resp, err
	}
	resource, query := path.Base(req.URL.Path), req.URL.Query()
	watch := query.Get("watch")
	switch {
	case !watched(resource):
	case query.Get("sendInitialEvents") == "true" && err == nil && resp.StatusCode == http.StatusUnprocessableEntity:
		// This API server cannot stream lists. The client lists and watches instead.
	case watch == "true" || watch == "1":
		c.report("watch "+resource, outcome(resp, err))
		if outcome(resp, err) == nil {
			// An open watch means that the state is current, whatever became of an earlier list.
			c.report("list "+resource, nil)
		}
	default:
		c.report("list "+resource, outcome(resp, err))
	}
	return resp, err
}

func watched(resource string) bool {
	switch resource {
	case "pods", "namespaces", "networkpolicies":
		return true
	}
	return false
}

func outcome(resp *http.Response, err error) error {
	switch {
	case err != nil:
		return err
	case resp.StatusCode >= http.StatusBadRequest:
		return fmt.Errorf("the server answers %s", resp.Status)
	}
	return nil
}

// contacts brings what the recorder and the probe see to health, metrics and, when it changes, to the log.
type contacts struct {
	health  *Health
	metrics *Metrics
	log     *slog.Logger
}

func (c contacts) report(what string, err error) {
	changed := c.health.Contact(what, err)
	c.metrics.APIReachable.Set(boolValue(c.health.Reachable()))
	switch {
	case !changed:
	case err != nil:
		c.log.Warn("API server: request fails, what is enforced stays", "request", what, "error", err)
	default:
		c.log.Info("API server: request succeeds again", "request", what)
	}
}

func boolValue(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

const (
	probeEvery   = 15 * time.Second
	probeTimeout = 5 * time.Second
)

// probe asks the API server for something small again and again: on a connection that went dead without a
// word, an idle watch would look well for minutes.
func probe(ctx context.Context, get func(context.Context) error, report func(string, error)) {
	for sleep(ctx, probeEvery) {
		tctx, cancel := context.WithTimeout(ctx, probeTimeout)
		err := get(tctx)
		cancel()
		if ctx.Err() == nil {
			report("get node", err)
		}
	}
}

// sleep waits for d and says whether ctx still goes on.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
