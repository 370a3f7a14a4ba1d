package conformance

import (
	"strings"
	"testing"
	"time"

	"github.com/netpol-agent/netpol-agent/test/e2e/deploy"
)

func TestAgentsMustStay(t *testing.T) {
	first := deploy.Agent{Node: "node1", Pod: "p1", UID: "u1"}
	a := &installed{first: map[string]deploy.Agent{"node1": first}}
	if wrong := a.changes([]deploy.Agent{first}); len(wrong) > 0 {
		t.Errorf("nothing changed: %v", wrong)
	}
	restarted, another, other := first, first, first
	restarted.Restarts, restarted.Trouble = 1, "ended with status 2"
	another.UID = "u2"
	other.Node = "node2"
	for want, now := range map[string][]deploy.Agent{
		"ended with status 2":  {restarted},
		"node1: another agent": {another},
		"node1: the agent is":  nil,
		"node2: another agent": {first, other},
	} {
		if wrong := a.changes(now); len(wrong) != 1 || !strings.Contains(wrong[0], want) {
			t.Errorf("%q: %v", want, wrong)
		}
	}
}

func TestErrorLines(t *testing.T) {
	const log = `{"time":"2026-01-01T00:00:00Z","level":"ERROR","msg":"before"}
{"time":"2026-01-01T00:00:02Z","level":"INFO"}
{"time":"2026-01-01T00:00:03Z","level":"ERROR"}
not JSON, level ERROR
`
	if got := errorLines([]byte(log), time.Date(2026, 1, 1, 0, 0, 1, 0, time.UTC)); got != 1 {
		t.Errorf("%d errors", got)
	}
}

func TestBackendIsAskedOfTheChart(t *testing.T) {
	for _, backend := range Backends() {
		want := map[string]string{
			backendNFTables: "--set-string backend=nftables", backendIPTables: "--set-string backend=iptables",
			backendLegacy: "--set-string backend=iptables --set-string iptablesVariant=legacy",
			backendIPTNFT: "--set-string backend=iptables --set-string iptablesVariant=nft",
		}[backend]
		if got := strings.Join(chartValues(backend), " "); got != want {
			t.Errorf("%s: %q, want %q", backend, got, want)
		}
	}
}
