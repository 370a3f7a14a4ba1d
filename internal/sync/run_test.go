package sync

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/netpol-agent/netpol-agent/internal/render"
	"github.com/netpol-agent/netpol-agent/internal/sync/node"
	"github.com/netpol-agent/netpol-agent/internal/sync/report"
	"github.com/netpol-agent/netpol-agent/test/agenttest"
)

func TestMain(m *testing.M) {
	LogClients(agenttest.Quiet())
	os.Exit(m.Run())
}

var socketNumber atomic.Int32

// testConfig returns a configuration with ports and a socket that nobody else uses.
func testConfig(t *testing.T, api *rest.Config, b *agenttest.Backend) Config {
	t.Helper()
	return Config{
		Version: "test", Node: agenttest.Node, REST: api,
		OpenBackend: func(render.Observer) (*render.Opened, error) {
			return &render.Opened{Backend: b, Name: "fake", Reason: "a test"}, nil
		},
		HealthAddr: freePort(t), MetricsAddr: freePort(t),
		StatusSocket: fmt.Sprintf("@netpol-agent-test-%d-%d", os.Getpid(), socketNumber.Add(1)),
		Log:          agenttest.Quiet(), silentFor: time.Second,
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// running is an agent that runs until the test ends.
type running struct {
	cfg    Config
	cancel func()
	ended  chan error
}

func start(t *testing.T, cfg Config) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r := &running{cfg: cfg, cancel: cancel, ended: make(chan error, 1)}
	go func() { r.ended <- Run(ctx, cfg) }()
	t.Cleanup(func() { r.stop(t) })
	return r
}

// stop ends the agent as SIGTERM does.
func (r *running) stop(t *testing.T) {
	t.Helper()
	r.cancel()
	select {
	case err := <-r.ended:
		if err != nil {
			t.Errorf("ended with %v", err)
		}
		r.ended <- nil
	case <-time.After(20 * time.Second):
		t.Error("does not end")
	}
}

func get(t *testing.T, addr, path string) (int, string) {
	t.Helper()
	resp, err := http.Get("http://" + addr + path)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func (r *running) ready(t *testing.T) bool {
	t.Helper()
	code, _ := get(t, r.cfg.HealthAddr, "/readyz")
	return code == http.StatusOK
}

func TestRunWithoutNodeName(t *testing.T) {
	cfg := testConfig(t, &rest.Config{}, &agenttest.Backend{})
	cfg.Node = ""
	agenttest.OneLine(t, Run(t.Context(), cfg), "node name unknown", "--node-name", "NODE_NAME")
}

func TestRunWithUnknownNode(t *testing.T) {
	b := &agenttest.Backend{}
	api := newFakeAPI(t, "another-node")
	agenttest.OneLine(t, Run(t.Context(), testConfig(t, api.config(), b)), `node "node-1" does not exist`, "--node-name", "NODE_NAME")
	if len(b.Calls()) != 0 {
		t.Error("the kernel was touched")
	}
}

func TestRunWithAPortInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	for flag, set := range map[string]func(*Config){
		"--health-bind-address":  func(c *Config) { c.HealthAddr = l.Addr().String() },
		"--metrics-bind-address": func(c *Config) { c.MetricsAddr = l.Addr().String() },
	} {
		cfg := testConfig(t, newFakeAPI(t, agenttest.Node).config(), &agenttest.Backend{})
		set(&cfg)
		cfg.OpenBackend = func(render.Observer) (*render.Opened, error) {
			t.Error("the backend was opened")
			return &render.Opened{Backend: &agenttest.Backend{}}, nil
		}
		agenttest.OneLine(t, Run(t.Context(), cfg), "in use", l.Addr().String(), flag)
	}
}

func TestRunTwiceOnOneNode(t *testing.T) {
	first := start(t, testConfig(t, newFakeAPI(t, agenttest.Node).config(), &agenttest.Backend{}))
	agenttest.Eventually(t, "the first agent is ready", func() bool { return first.ready(t) })
	second := testConfig(t, first.cfg.REST, &agenttest.Backend{})
	second.StatusSocket = first.cfg.StatusSocket
	agenttest.OneLine(t, Run(t.Context(), second), "another agent", "--status-socket")
}

func TestRunWithoutTheRightToChangeRules(t *testing.T) {
	cfg := testConfig(t, newFakeAPI(t, agenttest.Node).config(), &agenttest.Backend{})
	cfg.OpenBackend = func(render.Observer) (*render.Opened, error) { return nil, errors.New("needs CAP_NET_ADMIN") }
	agenttest.OneLine(t, Run(t.Context(), cfg), "CAP_NET_ADMIN")
}

func TestRunWithoutAPIServer(t *testing.T) {
	b := &agenttest.Backend{}
	api := newFakeAPI(t, agenttest.Node)
	api.setDown(true)
	r := start(t, testConfig(t, api.config(), b))
	agenttest.Eventually(t, "readiness names the API server", func() bool {
		code, body := get(t, r.cfg.HealthAddr, "/readyz")
		return code == http.StatusServiceUnavailable && strings.Contains(body, "API server")
	})
	if code, body := get(t, r.cfg.HealthAddr, "/healthz"); code != http.StatusOK {
		t.Errorf("not alive: %s", body)
	}
	if len(b.Calls()) != 0 {
		t.Error("the kernel was touched")
	}
	api.setDown(false)
	agenttest.Eventually(t, "ready when the API server is there", func() bool { return r.ready(t) })
	r.stop(t)
}

func TestRunWithoutTheRightToListPods(t *testing.T) {
	b := &agenttest.Backend{}
	api := newFakeAPI(t, agenttest.Node)
	api.refuse["pods"] = true
	r := start(t, testConfig(t, api.config(), b))
	agenttest.Eventually(t, "readiness names what fails", func() bool {
		_, body := get(t, r.cfg.HealthAddr, "/readyz")
		return strings.Contains(body, "pods") && strings.Contains(body, "403")
	})
	if len(b.Calls()) != 0 {
		t.Error("the kernel was touched before all caches were in sync")
	}
}

func TestRunEnforcesAndTellsAboutIt(t *testing.T) {
	b := &agenttest.Backend{}
	api := newFakeAPI(t, agenttest.Node)
	api.apply(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}})
	api.apply(agenttest.Local("a", "198.51.100.1"))
	api.apply(agenttest.BadBlock("half"))
	r := start(t, testConfig(t, api.config(), b))
	agenttest.Eventually(t, "ready", func() bool { return r.ready(t) })
	calls := b.Calls()
	if calls[0].Op != "sync" || !calls[0].Locals[agenttest.Addr("198.51.100.1")] {
		t.Errorf("first write %+v", calls[0])
	}

	api.apply(agenttest.Local("b", "198.51.100.2"))
	agenttest.Eventually(t, "the new pod is isolated", func() bool { c := b.Calls(); return c[len(c)-1].Locals[agenttest.Addr("198.51.100.2")] })
	agenttest.Eventually(t, "the diagnostic is an Event", func() bool {
		api.mu.Lock()
		defer api.mu.Unlock()
		for _, ev := range api.events {
			if ev.InvolvedObject.Name == "half" && ev.Reason == report.ReasonNotUnderstood && strings.Contains(ev.Message, "ipBlock") {
				return true
			}
		}
		return false
	})
	api.remove(agenttest.BadBlock("half"))
	agenttest.Eventually(t, "the pods are open again", func() bool { c := b.Calls(); return !c[len(c)-1].Locals[agenttest.Addr("198.51.100.2")] })
	api.apply(agenttest.DenyAll("deny"))
	agenttest.Eventually(t, "isolated again", func() bool { c := b.Calls(); return c[len(c)-1].Locals[agenttest.Addr("198.51.100.1")] })

	status, err := report.FetchStatus(t.Context(), r.cfg.StatusSocket)
	if err != nil {
		t.Fatal(err)
	}
	if !status.Ready || status.Node != agenttest.Node || status.Backend != "fake" || status.Table != "fake" || status.Pending != 0 ||
		len(status.Pods) != 2 || status.Pods[0].Name != "default/a" || status.Pods[0].Isolation != "ingress" ||
		len(status.Pods[0].Ingress) != 1 || status.Pods[0].Ingress[0] != "default/deny" ||
		len(status.Policies) != 1 || status.Policies[0].State != "enforced" || status.Objects["pods"] != 2 {
		t.Errorf("status %+v", status)
	}
	_, metrics := get(t, r.cfg.MetricsAddr, "/metrics")
	for _, want := range []string{
		`netpol_agent_rules{family="ipv4"} 3`, `netpol_agent_apply_total{result="ok"}`,
		`netpol_agent_event_to_kernel_seconds_bucket{le="0.001"}`, "netpol_agent_api_server_reachable 1",
		"netpol_agent_bridge_netfilter_ok 1", `netpol_agent_build_info{goversion="`, "go_goroutines", "process_resident_memory_bytes",
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
}

// TestRunKnowsTheBridgesBeforeItWrites: the rules of an earlier run know the bridges, and the first write must not open
// what these rules block.
func TestRunKnowsTheBridgesBeforeItWrites(t *testing.T) {
	b := &agenttest.Backend{}
	api := newFakeAPI(t, agenttest.Node)
	api.apply(agenttest.DenyAll("deny"))
	api.apply(agenttest.Local("a", "198.51.100.1"))
	cfg := testConfig(t, api.config(), b)
	cfg.bridgeCheck = &node.BridgeCheck{
		OnBridge: func(netip.Addr) (string, error) { return "cni0", nil },
		Settings: switchedOn{}, Log: agenttest.Quiet(),
	}
	r := start(t, cfg)
	agenttest.Eventually(t, "ready", func() bool { return r.ready(t) })
	if first := b.Calls()[0]; !slices.Equal(first.Bridges, []string{"cni0"}) {
		t.Errorf("first write %+v", first)
	}
}

// switchedOn is a /proc/sys in which every setting is 1.
type switchedOn struct{}

func (switchedOn) Read(string) (string, error) { return "1", nil }
func (switchedOn) Write(string, string) error  { return fs.ErrPermission }

func TestRunKeepsEnforcingWhileTheAPIServerIsAway(t *testing.T) {
	b := &agenttest.Backend{}
	api := newFakeAPI(t, agenttest.Node)
	api.apply(agenttest.DenyAll("deny"))
	api.apply(agenttest.Local("a", "198.51.100.1"))
	r := start(t, testConfig(t, api.config(), b))
	agenttest.Eventually(t, "ready", func() bool { return r.ready(t) })
	api.setDown(true)
	agenttest.Eventually(t, "not ready", func() bool { return !r.ready(t) })
	if last := b.Calls()[len(b.Calls())-1]; !last.Locals[agenttest.Addr("198.51.100.1")] {
		t.Error("opened")
	}
	if code, body := get(t, r.cfg.HealthAddr, "/healthz"); code != http.StatusOK {
		t.Errorf("not alive: %s", body)
	}
	api.apply(agenttest.Local("b", "198.51.100.2"))
	api.setDown(false)
	agenttest.Eventually(t, "ready again", func() bool { return r.ready(t) })
	agenttest.Eventually(t, "what changed meanwhile is enforced", func() bool { c := b.Calls(); return c[len(c)-1].Locals[agenttest.Addr("198.51.100.2")] })
}

func TestStatusWithoutAgent(t *testing.T) {
	_, err := report.FetchStatus(t.Context(), "@netpol-agent-test-nobody")
	agenttest.OneLine(t, err, "no agent answers", "@netpol-agent-test-nobody")
}
