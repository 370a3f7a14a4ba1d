package sync

import (
	"context"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/netpol-agent/netpol-agent/internal/compiler"
	"github.com/netpol-agent/netpol-agent/internal/render/iptables"
	iptools "github.com/netpol-agent/netpol-agent/internal/render/iptables/kernel"
	"github.com/netpol-agent/netpol-agent/internal/sync/engine"
	"github.com/netpol-agent/netpol-agent/internal/sync/report"
	"github.com/netpol-agent/netpol-agent/test/agenttest"
	"github.com/netpol-agent/netpol-agent/test/testns"
)

// TestKernelIPTablesStaysFirst inserts rules before ours and flushes the filter table, as others might, while the
// engine looks as often as it does by default. Each time our jump is soon first again.
func TestKernelIPTablesStaysFirst(t *testing.T) {
	for _, v := range iptools.Variants() {
		t.Run(string(v), func(t *testing.T) {
			ns := testns.New(t)
			ns.Sysctl("net/ipv4/ip_forward", "1")
			var tools *iptools.Tools
			if err := ns.Run(func() (err error) { tools, err = iptools.Open(v); return err }); err != nil {
				testns.Cannot(t, "%v", err)
			}
			m := &machine{node: ns, queue: engine.NewQueue(), health: report.NewHealth(0)}
			m.engine = engine.New(engine.Config{
				NewCompiler: func() engine.Compiler { return compiler.New(compiler.Options{Node: agenttest.Node}) },
				Backend:     iptables.New(tools, iptables.Options{}), Queue: m.queue,
				Health: m.health, Metrics: report.NewMetrics("test", m.queue.Len, m.health), Log: agenttest.Quiet(),
			})
			m.start(t, func(ctx context.Context) { // the tools act where the engine's thread is
				if err := ns.Run(func() error { m.engine.Run(ctx); return nil }); err != nil {
					t.Error(err)
				}
			})
			m.health.Starting("")
			m.queue.Put(agenttest.Update(t, []netip.Addr{agenttest.Addr("10.88.0.1")}))
			m.engine.MarkSynced()
			m.put(t, agenttest.Pod("server", agenttest.Node, serverIP, map[string]string{"app": "server"}), agenttest.OnlyPort(81))
			for _, args := range []string{"-I FORWARD -j ACCEPT", "-I OUTPUT -j ACCEPT", "-F", "-I FORWARD 1 -s 10.0.0.0/8 -j ACCEPT"} {
				before := rules(t, m.node, v)
				stranger(t, m.node, v, args)
				start := time.Now()
				agenttest.Eventually(t, "first again after "+args, func() bool { return first(rules(t, m.node, v)) })
				t.Logf("%s: put right after %v", args, time.Since(start).Round(time.Millisecond))
				if took := time.Since(start); took > 3*time.Second {
					t.Errorf("%s: put right after %v", args, took)
				}
				if args == "-F" && strings.Count(rules(t, m.node, v), "-A NETPOL-") != strings.Count(before, "-A NETPOL-") {
					t.Errorf("not all rules are back:\n%s", rules(t, m.node, v))
				}
			}
		})
	}
}

// first reports whether our jumps are the first rules of their chains.
func first(rules string) bool {
	for _, chain := range []string{"FORWARD", "OUTPUT"} {
		_, after, found := strings.Cut(rules, "\n-A "+chain+" ")
		line, _, _ := strings.Cut(after, "\n")
		if !found || !strings.HasSuffix(line, "-j NETPOL-"+chain) {
			return false
		}
	}
	return true
}

func stranger(t *testing.T, ns *testns.NS, v iptools.Variant, args string) {
	t.Helper()
	if err := ns.Run(func() error {
		return exec.CommandContext(t.Context(), v.Name(), append([]string{"-w", "10"}, strings.Fields(args)...)...).Run()
	}); err != nil {
		t.Fatalf("%s: %v", args, err)
	}
}

func rules(t *testing.T, ns *testns.NS, v iptools.Variant) string {
	t.Helper()
	var out []byte
	if err := ns.Run(func() (err error) {
		out, err = exec.CommandContext(t.Context(), v.Name()+"-save", "-t", "filter").Output()
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return string(out)
}
