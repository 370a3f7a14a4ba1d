package kernel

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	chosen "github.com/netpol-agent/netpol-agent/internal/render/backend"
)

// TestKernelBackendChange changes the backend again and again, as agents that start one after another do, each with
// another policy beside those that decide over the traffic. No permitted packet is lost, no forbidden one passes, and
// nothing is left of the previous backend.
func TestKernelBackendChange(t *testing.T) {
	if b := os.Getenv(backendVariable); b != "" && b != backendNFT {
		t.Skip("runs with the tests of nftables, for all backends")
	}
	t.Setenv("XTABLES_LOCKFILE", t.TempDir()+"/lock")
	c := swapWorld(t)
	tr := newTraffic(t, c.world)
	c.witness.Close(t)
	changes := []chosen.Config{
		{Backend: chosen.IPTables, Variant: chosen.Legacy}, {Backend: chosen.IPTables, Variant: chosen.NFT}, {Backend: chosen.Auto},
		{Backend: chosen.IPTables, Variant: chosen.NFT}, {Backend: chosen.IPTables, Variant: chosen.Legacy}, {Backend: chosen.NFTables},
	}
	names := []string{backendLegacy, backendIPTNFT, backendNFT, backendIPTNFT, backendLegacy, backendNFT}
	for i, cfg := range changes {
		tr.change.Store(int32(i))
		c.toggle()
		if err := c.lab.Node.Do(func() error { return c.become(t, cfg, names[i]) }); err != nil {
			t.Fatalf("change to %s: %v", names[i], err)
		}
		time.Sleep(300 * time.Millisecond) // lets traffic meet the new rules
	}
	r := tr.end()
	t.Log(r.text)
	if r.lost+r.leaked+r.broken > 0 {
		t.Errorf("%d permitted packets lost, %d forbidden ones delivered, %d exchanges broken", r.lost, r.leaked, r.broken)
	}
	for _, s := range tr.streams {
		if s.sent.Load() < 1000 {
			t.Errorf("the stream from %s proves nothing: %d sent", s.name, s.sent.Load())
		}
	}
}

// become starts an agent's renderer inside the node, on the rules that another one left.
func (c *changer) become(t *testing.T, cfg chosen.Config, name string) error {
	t.Helper()
	next, err := chosen.Open(cfg)
	if err != nil {
		return err
	}
	if next.Name != name {
		t.Errorf("chose %s (%s), want %s", next.Name, next.Reason, name)
	}
	if _, err := next.Sync(c.comp.Program()); err != nil {
		return err
	}
	time.Sleep(200 * time.Millisecond) // both enforce
	removed, err := next.Sweep()
	if err != nil || len(removed) == 0 {
		t.Errorf("%s: removed %q, %v", name, removed, err)
	}
	stats, err := next.Sync(c.comp.Program())
	if err != nil || stats.Left != nil {
		t.Errorf("%s: left %v, %v", name, stats.Left, err)
	}
	again, err := next.Sweep()
	left, cleanupErr := chosen.Cleanup(true)
	if err = errors.Join(err, cleanupErr); err != nil || len(again) > 0 {
		t.Errorf("%s: removed the second time: %q, %v", name, again, err)
	}
	for _, what := range left {
		ours := strings.HasPrefix(what, name+" ") || strings.HasPrefix(what, "ipset:") && name != backendNFT ||
			strings.HasPrefix(what, "table inet") && name == backendNFT
		if !ours {
			t.Errorf("%s enforces, but %s is still there", name, what)
		}
	}
	if len(left) == 0 {
		t.Errorf("%s enforces, but nothing is installed", name)
	}
	return next.Close()
}
