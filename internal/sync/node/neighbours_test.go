package node

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netpol-agent/netpol-agent/internal/neighbour"
)

// neighbourRig is a monitor whose kernel the test controls.
type neighbourRig struct {
	Neighbours
	names  neighbour.Names
	err    error
	found  map[neighbour.Engine]bool
	events []string
	text   bytes.Buffer
}

func newNeighbourRig() *neighbourRig {
	r := &neighbourRig{found: map[neighbour.Engine]bool{}}
	r.Neighbours = Neighbours{
		Look:    func() (neighbour.Names, error) { return r.names, r.err },
		Every:   time.Minute,
		Log:     slog.New(slog.NewTextHandler(&r.text, nil)),
		Present: func(e neighbour.Engine, found bool) { r.found[e] = found },
		Event:   func(message string) { r.events = append(r.events, message) },
	}
	return r
}

func chainsNamed(names ...string) (out []neighbour.Chain) {
	for _, n := range names {
		out = append(out, neighbour.Chain{Family: "ip", Table: "filter", Name: n})
	}
	return out
}

func TestAnotherEngineIsToldOnce(t *testing.T) {
	r := newNeighbourRig()
	lines := func() int { return strings.Count(r.text.String(), "\n") }
	step := func(what string, wantLines, wantEvents int, present ...neighbour.Engine) {
		t.Helper()
		r.check()
		if lines() != wantLines || len(r.events) != wantEvents {
			t.Errorf("%s: %d lines, %d Events, want %d and %d\n%s", what, lines(), len(r.events), wantLines, wantEvents, r.text.String())
		}
		for _, e := range neighbour.Engines() {
			if want := slices.Contains(present, e); r.found[e] != want {
				t.Errorf("%s: %s is found: %t, want %t", what, e, r.found[e], want)
			}
		}
	}
	step("nobody", 0, 0)
	r.names.Chains = chainsNamed("KUBE-POD-FW-A")
	step("one comes", 1, 1, neighbour.KubeRouter)
	if !strings.Contains(r.events[0], "chain KUBE-POD-FW-A in table ip filter") || len(r.events[0]) > 1024 {
		t.Errorf("Event %q", r.events[0])
	}
	step("it stays", 1, 1, neighbour.KubeRouter)
	r.names.Chains = chainsNamed("KUBE-POD-FW-B", "KUBE-POD-FW-C")
	step("its chains change", 1, 1, neighbour.KubeRouter)
	r.err = errors.New("no")
	step("unreadable", 2, 1, neighbour.KubeRouter)
	step("still unreadable", 2, 1, neighbour.KubeRouter)
	r.err = nil
	step("readable", 2, 1, neighbour.KubeRouter)
	r.names.Links = []string{"cilium_host"}
	step("another comes", 3, 2, neighbour.KubeRouter, neighbour.Cilium)
	r.names = neighbour.Names{}
	step("both go", 5, 2)
	r.names.Links = []string{"cilium_host"}
	step("one comes back", 6, 3, neighbour.Cilium)
}

func TestNeighboursAreLookedForAtStartAndFromTimeToTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newNeighbourRig()
		var looks atomic.Int64
		r.Look = func() (neighbour.Names, error) { looks.Add(1); return r.names, nil }
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); r.Run(ctx) }()
		synctest.Wait()
		if looks.Load() != 1 {
			t.Errorf("%d looks at start", looks.Load())
		}
		time.Sleep(3*time.Minute + time.Second)
		synctest.Wait()
		if looks.Load() != 4 {
			t.Errorf("%d looks after three periods", looks.Load())
		}
		cancel()
		<-done
	})
}
