package cli

import (
	"bytes"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/netpol-agent/netpol-agent/internal/render"
	"github.com/netpol-agent/netpol-agent/internal/sync/report"
)

// TestHelp expects every command to have a short text, a long text and examples that call it.
func TestHelp(t *testing.T) {
	for _, cmd := range newRoot().Commands() {
		if cmd.Short == "" || strings.HasSuffix(cmd.Short, ".") {
			t.Errorf("%s: short text %q", cmd.Name(), cmd.Short)
		}
		if cmd.Long == "" || !strings.Contains(cmd.Example, "netpol-agent "+cmd.Name()) {
			t.Errorf("%s has no long text, or no example", cmd.Name())
		}
		for _, line := range strings.Split(cmd.Long+"\n"+cmd.Example, "\n") {
			if len(line) > 120 {
				t.Errorf("%s: a line of the help is longer than 120 characters: %q", cmd.Name(), line)
			}
		}
		var out bytes.Buffer
		if status := Main([]string{cmd.Name(), "--help"}, nil, &out, &out); status != 0 || !strings.Contains(out.String(), "Examples:") {
			t.Errorf("%s --help: status %d, output %q", cmd.Name(), status, out.String())
		}
	}
}

func TestErrorsAreOneLine(t *testing.T) {
	err := errors.Join(errors.New("first"), errors.New("second"))
	if got := oneLine(err); got != "first; second" {
		t.Errorf("oneLine = %q", got)
	}
}

func TestVersionIsNeverEmpty(t *testing.T) {
	v := version()
	if v.Version == "" || v.Commit == "" || !strings.HasPrefix(v.Go, "go") || !strings.Contains(v.Platform, "/") {
		t.Errorf("version %+v", v)
	}
}

func TestWriteStatus(t *testing.T) {
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	s := &report.Status{
		Version: "v1", Node: "w1", Backend: "nftables", Table: "inet netpol-agent",
		Started: now.Add(-90 * time.Minute), NotReady: []string{"the API server does not answer"},
		Pending:   2,
		Installed: map[string]render.Counts{"ipv4": {Rules: 3, Sets: 2, Elements: 10}, "inet": {Chains: 4}},
		Objects:   map[string]int{"pods": 7, "namespaces": 2},
		Policies: []report.PolicyStatus{
			{Name: "shop/a", State: "enforced"},
			{Name: "shop/b", State: "partly_understood", Diagnostics: []string{"spec.x: no such thing"}},
		},
		Pods: []report.PodStatus{
			{Name: "shop/p", Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")}, Isolation: "ingress", Ingress: []string{"shop/a", "shop/b"}},
			{Name: "shop/q", Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.2")}, Isolation: "none"},
		},
	}
	want := `Node      w1
Version   v1
State     not ready: the API server does not answer
Running   since 2026-01-31T10:30:00Z (1h30m0s ago)
In sync   never
Pending   2 changes
Rules in  inet netpol-agent
Backend   nftables
Objects   2 namespaces, 7 pods

FAMILY  RULES  CHAINS  SETS  ELEMENTS
inet    0      4       0     0
ipv4    3      0       2     10

POLICY  STATE
shop/a  enforced
shop/b  partly understood
  spec.x: no such thing

POD     ADDRESSES         ISOLATED  BY, INGRESS    BY, EGRESS
shop/p  10.0.0.1,fd00::1  ingress   shop/a,shop/b  -
shop/q  10.0.0.2          none      -              -
`
	var out bytes.Buffer
	if err := writeStatus(&out, s, now); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
}
