package sync

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path"
	"slices"
	"time"

	"github.com/netpol-agent/netpol-agent/internal/sync/source"
	"github.com/netpol-agent/netpol-agent/internal/wait"
)

// contactRecorder reports how each list and watch ends, so that readiness reflects the requests of the informers and not
// those of a probe.
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
	case !slices.Contains(source.Resources(), resource):
	case query.Get("sendInitialEvents") == "true" && err == nil && resp.StatusCode == http.StatusUnprocessableEntity:
		// This API server cannot stream lists. The client falls back to list and watch.
	case watch == "true" || watch == "1":
		c.report("watch "+resource, outcome(resp, err))
		if outcome(resp, err) == nil {
			// An open watch means that the state is current, even if an earlier list failed.
			c.report("list "+resource, nil)
		}
	default:
		c.report("list "+resource, outcome(resp, err))
	}
	return resp, err
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

// contact records how a request to the API server ended. What names its kind, as in "watch pods".
func (a *agent) contact(what string, err error) {
	changed := a.health.Contact(what, err)
	a.metrics.Reachable(a.health.Reachable())
	switch {
	case !changed:
	case err != nil:
		a.log.Warn("API server: request fails, what is enforced stays", "request", what, "error", err)
	default:
		a.log.Info("API server: request succeeds again", "request", what)
	}
}

const (
	probeEvery   = 15 * time.Second
	probeTimeout = 5 * time.Second
)

// probe sends a small request to the API server from time to time. If a connection goes dead silently, an idle watch
// looks healthy for minutes.
func probe(ctx context.Context, get func(context.Context) error, report func(string, error)) {
	for wait.Sleep(ctx, probeEvery) {
		tctx, cancel := context.WithTimeout(ctx, probeTimeout)
		err := get(tctx)
		cancel()
		if ctx.Err() == nil {
			report("get node", err)
		}
	}
}
