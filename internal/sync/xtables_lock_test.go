package sync

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/netpol-agent/netpol-agent/internal/compiler"
	"github.com/netpol-agent/netpol-agent/internal/render/iptables"
	iptools "github.com/netpol-agent/netpol-agent/internal/render/iptables/kernel"
	"github.com/netpol-agent/netpol-agent/internal/sync/engine"
	"github.com/netpol-agent/netpol-agent/internal/sync/report"
	"github.com/netpol-agent/netpol-agent/test/agenttest"
	"github.com/netpol-agent/netpol-agent/test/testns"
)

// TestKernelXtablesLockIsCounted holds the lock of the iptables programs, in a file of the test's own, for longer than
// a write waits. The metrics count it, and the rules are written once the lock is free.
func TestKernelXtablesLockIsCounted(t *testing.T) {
	file := filepath.Join(t.TempDir(), "lock")
	t.Setenv("XTABLES_LOCKFILE", file)
	held, err := os.OpenFile(file, os.O_CREATE|os.O_RDONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = held.Close() })
	ns := testns.New(t)
	ns.Sysctl("net/ipv4/ip_forward", "1")
	m := &machine{node: ns, queue: engine.NewQueue(), health: report.NewHealth(0)}
	metrics := report.NewMetrics("test", m.queue.Len, m.health)
	var tools *iptools.Tools
	if err := ns.Run(func() (err error) {
		tools, err = iptools.Open(iptools.Legacy, iptools.WithLockObserver(metrics.LockWaited))
		return err
	}); err != nil {
		testns.Cannot(t, "%v", err)
	}
	m.engine = engine.New(engine.Config{
		NewCompiler: func() engine.Compiler { return compiler.New(compiler.Options{Node: agenttest.Node}) },
		Backend:     iptables.New(tools, iptables.Options{}), Queue: m.queue,
		Health: m.health, Metrics: metrics, Log: agenttest.Quiet(),
	})
	if err := syscall.Flock(int(held.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		t.Fatal(err)
	}
	m.start(t, func(ctx context.Context) {
		if err := ns.Run(func() error { m.engine.Run(ctx); return nil }); err != nil {
			t.Error(err)
		}
	})
	m.health.Starting("")
	m.queue.Put(agenttest.Update(t, []netip.Addr{agenttest.Addr("10.88.0.1")}))
	m.queue.Put(agenttest.Update(t, agenttest.Pod("server", agenttest.Node, serverIP, map[string]string{"app": "server"})))
	m.queue.Put(agenttest.Update(t, agenttest.OnlyPort(81)))
	m.engine.MarkSynced()
	timeouts := func() float64 {
		return agenttest.Gather(t, metrics.Registry)["netpol_agent_xtables_lock_timeouts_total"].GetMetric()[0].GetCounter().GetValue()
	}
	agenttest.Eventually(t, "a write that does not get the lock", func() bool { return timeouts() >= 1 })
	if first(rules(t, ns, iptools.Legacy)) {
		t.Error("rules were written without the lock")
	}
	if err := syscall.Flock(int(held.Fd()), syscall.LOCK_UN); err != nil {
		t.Fatal(err)
	}
	agenttest.Eventually(t, "the rules", func() bool { return first(rules(t, ns, iptools.Legacy)) })
	waits := agenttest.Gather(t, metrics.Registry)["netpol_agent_xtables_lock_wait_seconds"].GetMetric()[0].GetHistogram()
	if waits.GetSampleCount() < 2 || waits.GetSampleSum() < 5 {
		t.Errorf("waits are not counted: %v", waits)
	}
}
