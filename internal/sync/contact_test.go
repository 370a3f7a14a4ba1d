package sync

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netpol-agent/netpol-agent/internal/sync/report"
	"github.com/netpol-agent/netpol-agent/test/agenttest"
)

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestContactRecorder(t *testing.T) {
	const pods = "http://api/api/v1/pods"
	for name, c := range map[string]struct {
		method, url string
		status      int
		err         error
		want        []string
	}{
		"list":                         {http.MethodGet, pods + "?limit=500", 200, nil, []string{"list pods ok"}},
		"list refused":                 {http.MethodGet, pods, 403, nil, []string{"list pods bad"}},
		"list unreachable":             {http.MethodGet, pods, 0, agenttest.ErrKernel, []string{"list pods bad"}},
		"watch":                        {http.MethodGet, pods + "?watch=true", 200, nil, []string{"watch pods ok", "list pods ok"}},
		"watch refused":                {http.MethodGet, pods + "?watch=1", 401, nil, []string{"watch pods bad"}},
		"streamed list not offered":    {http.MethodGet, pods + "?watch=1&sendInitialEvents=true", 422, nil, nil},
		"streamed list refused":        {http.MethodGet, pods + "?watch=1&sendInitialEvents=true", 403, nil, []string{"watch pods bad"}},
		"networkpolicies":              {http.MethodGet, "http://api/apis/networking.k8s.io/v1/networkpolicies", 500, nil, []string{"list networkpolicies bad"}},
		"we end":                       {http.MethodGet, pods, 0, context.Canceled, nil},
		"an Event":                     {http.MethodPost, "http://api/api/v1/namespaces/x/events", 403, nil, nil},
		"the node has its own reports": {http.MethodGet, "http://api/api/v1/nodes/n", 500, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			rec := contactRecorder{
				next: roundTrip(func(*http.Request) (*http.Response, error) {
					if c.err != nil {
						return nil, c.err
					}
					return &http.Response{StatusCode: c.status, Status: http.StatusText(c.status)}, nil
				}),
				report: func(what string, err error) {
					if err == nil {
						what += " ok"
					} else {
						what += " bad"
					}
					got = append(got, what)
				},
			}
			resp, err := rec.RoundTrip(httptest.NewRequest(c.method, c.url, nil)) //nolint:bodyclose // there is none
			if !errors.Is(err, c.err) || (resp == nil) != (c.err != nil) {
				t.Errorf("the answer was changed: %v, %v", resp, err)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("reported %q, want %q", got, c.want)
			}
		})
	}
}

func TestProbeTellsOfADeadConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := report.NewHealth(0)
		h.Starting("")
		h.Synced()
		h.Wrote()
		a := &agent{health: h, metrics: report.NewMetrics("test", nil, h), log: agenttest.Quiet()}
		a.contact("watch pods", nil)
		var dead atomic.Bool
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go probe(ctx, func(ctx context.Context) error {
			if dead.Load() {
				<-ctx.Done() // nothing comes back, not even a refusal
				return ctx.Err()
			}
			return nil
		}, a.contact)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if got := h.NotReady(); len(got) != 0 {
			t.Fatalf("reasons %q", got)
		}
		if agenttest.Value(t, a.metrics.APIReachable) != 1 {
			t.Error("api_server_reachable is not 1")
		}
		dead.Store(true)
		time.Sleep(70 * time.Second)
		synctest.Wait()
		if got := h.NotReady(); len(got) != 1 {
			t.Errorf("reasons %q after 70 s", got)
		}
		if agenttest.Value(t, a.metrics.APIReachable) != 0 {
			t.Error("api_server_reachable is not 0")
		}
	})
}
