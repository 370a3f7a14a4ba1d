package agenttest

import (
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/render"
)

// ErrKernel is an error of a backend.
var ErrKernel = errors.New("the kernel says no")

// Call is one call of a Backend that would have written.
type Call struct {
	Op string // "sync" or "apply"
	At time.Time
	// Locals holds whether each local address is isolated.
	Locals map[netip.Addr]bool
	// Delta is the number of local addresses in the delta.
	Delta   int
	Bridges []string
	Err     error
}

// Backend records what it was asked to write. Once an engine runs, change its fields only within Set.
type Backend struct {
	// Fail returns the error of a call. Calls are counted from 0.
	Fail   func(n int) error
	Takes  time.Duration
	Drift  bool
	Ops    int // what a Sync after the first reports to have written
	Panics bool
	mu     sync.Mutex
	calls  []Call
}

func (f *Backend) record(op string, p *program.Program, delta int) (render.Stats, error) {
	f.mu.Lock()
	n := len(f.calls)
	c := Call{Op: op, At: time.Now(), Locals: map[netip.Addr]bool{}, Delta: delta, Bridges: p.Bridges}
	for a, l := range p.Locals {
		c.Locals[a] = l.Isolated()
	}
	if f.Fail != nil {
		c.Err = f.Fail(n)
	}
	f.calls = append(f.calls, c)
	ops, takes, panics := f.Ops, f.Takes, f.Panics
	f.mu.Unlock()
	if panics {
		panic("renderer is broken")
	}
	time.Sleep(takes)
	return render.Stats{Ops: ops}, c.Err
}

// Sync implements the engine's backend.
func (f *Backend) Sync(p *program.Program) (render.Stats, error) { return f.record("sync", p, 0) }

// Apply implements the engine's backend.
func (f *Backend) Apply(p *program.Program, d *program.Delta) (render.Stats, error) {
	return f.record("apply", p, len(d.Locals))
}

// Drifted implements the engine's backend.
func (f *Backend) Drifted() (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.Drift, nil
}

// PreciseDrift implements render.Backend.
func (f *Backend) PreciseDrift() bool { return false }

// Counts implements the engine's backend.
func (f *Backend) Counts() map[string]render.Counts {
	return map[string]render.Counts{"ipv4": {Rules: 3, Chains: 2, Sets: 1, Elements: 7}}
}

// Table implements the engine's backend.
func (f *Backend) Table() string { return "fake" }

// Calls returns all calls so far.
func (f *Backend) Calls() []Call {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls)
}

// Last returns the last call, or the zero Call.
func (f *Backend) Last() (last Call) {
	for _, c := range f.Calls() {
		last = c
	}
	return last
}

// Set changes the backend's behaviour.
func (f *Backend) Set(change func(*Backend)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}
