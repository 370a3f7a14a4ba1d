package engine

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/netpol-agent/netpol-agent/internal/compiler"
	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/render"
	"github.com/netpol-agent/netpol-agent/internal/sync/report"
	"github.com/netpol-agent/netpol-agent/internal/sync/source"
)

// ErrStopped is the error of calls after Run has returned.
var ErrStopped = errors.New("the engine has stopped")

// Config is what an Engine works with.
type Config struct {
	NewCompiler func() Compiler
	Backend     render.Backend
	Queue       *Queue
	Health      *report.Health
	Metrics     *report.Metrics
	Log         *slog.Logger
	Hooks       Hooks
	// Resync is the time between two full comparisons of kernel and program; 0 means 60 s.
	Resync time.Duration
	// Drift is the time between two cheap checks whether somebody else changed the kernel's rules. 0 means 1 s, or half
	// of that if the backend's check is precise, because a rule in front of ours lets packets through. A precise check is
	// not put off after a comparison that took long. Otherwise other programs' busy commits would keep us comparing.
	Drift time.Duration
}

// Hooks are called in the engine's goroutine. They must not block. Each may be nil.
type Hooks struct {
	// Committed is called after each successful transaction that wrote something.
	Committed func(p *program.Program, c Change)
	// Failed is called after each failed transaction.
	Failed func(err error)
	// Diagnosed is called when the diagnostics have changed, with all of them.
	Diagnosed func([]report.PolicyProblems)
	// Left is called after each full comparison, and when stale objects of ours could not be removed. They affect no
	// packet. The error is nil if there are none.
	Left func(err error)
}

// Change says what a successful transaction may have changed.
type Change struct {
	// Delta names it, unless All is set.
	Delta *program.Delta
	// All says that anything may have changed: at the first write, and after a repair.
	All bool
}

// Engine owns compiler and backend: it takes updates, compiles them, and writes what follows.
type Engine struct {
	cfg Config
	log *slog.Logger

	calls   chan func()
	synced  chan struct{}
	stopped chan struct{}

	model *model
	// delta names what the program has and the kernel may lack. arrived are the times of the updates that led to it.
	delta   *program.Delta
	arrived []time.Time
	// complete says that the model has every object of the cluster. Before that, nothing is written.
	complete bool
	// written says that kernel and program have been equal once. Before that, nothing is applied in parts.
	written bool
	// resync says why a full comparison is wanted now. It is empty if none is.
	resync    string
	retry     retry
	nextSync  time.Time
	nextDrift time.Time
	failLog   time.Time

	// told are the diagnostics that have been logged and passed on. untold says that there may be others.
	told   map[compiler.Diagnostic]struct{}
	untold bool
	// gaugesStale says that the gauges lag behind, gaugesAt when they were updated.
	gaugesStale bool
	gaugesAt    time.Time
}

// New returns an engine. Call Run to start it.
func New(cfg Config) *Engine {
	cfg.Resync = cmp.Or(cfg.Resync, 60*time.Second)
	if cfg.Backend.PreciseDrift() {
		cfg.Drift = cmp.Or(cfg.Drift, 500*time.Millisecond)
	}
	cfg.Drift = cmp.Or(cfg.Drift, time.Second)
	return &Engine{
		cfg:     cfg,
		log:     cfg.Log,
		calls:   make(chan func()),
		synced:  make(chan struct{}),
		stopped: make(chan struct{}),
		model:   newModel(cfg.NewCompiler, cfg.Log, cfg.Metrics),
		delta:   program.NewDelta(),
	}
}

// MarkSynced says that the queue has received every object of the cluster at least once. Before that, the engine
// compiles but writes nothing: rules made from half of the objects would close what is open, and the rules of a former
// run are better than that. Call it once.
func (e *Engine) MarkSynced() { close(e.synced) }

// Locals returns the addresses of this node's pods, after compiling all updates that wait in the queue.
func (e *Engine) Locals(ctx context.Context) (addrs []netip.Addr, err error) {
	err = e.do(ctx, func() {
		e.take()
		addrs = slices.Collect(maps.Keys(e.model.compiler.Program().Locals))
	})
	return addrs, err
}

// Fill sets what the engine knows in a status.
func (e *Engine) Fill(ctx context.Context, s *report.Status) error {
	return e.do(ctx, func() { s.Fill(e.state()) })
}

// BackendSwept says that rules of another backend were removed. The sets that those rules referred to can go with the
// next full comparison, which the engine now starts.
func (e *Engine) BackendSwept(ctx context.Context) error {
	return e.do(ctx, func() { e.resync = reasonSwept })
}

// do runs f in the engine's goroutine, between two transactions, and waits for it.
func (e *Engine) do(ctx context.Context, f func()) error {
	var failed error
	done := make(chan struct{})
	call := func() {
		defer close(done)
		_, failed = Guard(func() (any, error) { f(); return nil, nil })
	}
	select {
	case e.calls <- call:
	case <-ctx.Done():
		return ctx.Err()
	case <-e.stopped:
		return ErrStopped
	}
	<-done
	return failed
}

// Run works until ctx ends. It finishes a transaction that is under way then. The rules stay.
func (e *Engine) Run(ctx context.Context) {
	defer close(e.stopped)
	timer := time.NewTimer(0)
	defer timer.Stop()
	synced := e.synced
	for {
		e.cfg.Health.Beat()
		select {
		case <-ctx.Done():
			e.log.Info("stopped; the rules stay in force", "uncommitted_changes", e.pending())
			return
		case <-synced:
			synced = nil
			e.cfg.Health.Synced()
			e.complete, e.resync = true, reasonStart
			e.log.Info("caches are in sync")
		case <-e.cfg.Queue.Wake():
		case call := <-e.calls:
			call()
		case <-timer.C:
		}
		e.step()
		timer.Reset(e.untilNext(time.Now()))
	}
}

// step takes what has arrived and does the one thing that is most urgent. Run calls it again at once if more is due.
func (e *Engine) step() {
	e.take()
	if do := e.due(time.Now()); do != nil {
		do()
	}
	e.housekeep()
}

// due returns what is most urgent now, or nil.
func (e *Engine) due(now time.Time) func() {
	switch {
	case !e.complete, e.retry.waiting(now):
		return nil
	case !e.written, e.resync != "", e.retry.failures > 1, !now.Before(e.nextSync):
		return e.fullSync
	case e.retry.failures > 0, !e.delta.Empty():
		return e.apply
	case !now.Before(e.nextDrift):
		return e.checkDrift
	}
	return nil
}

// untilNext returns how long the loop may sleep if nothing arrives. It always wakes in time for the heartbeat.
func (e *Engine) untilNext(now time.Time) time.Duration {
	if e.due(now) != nil {
		return 0
	}
	wake := now.Add(e.cfg.Drift)
	earlier := func(t time.Time) {
		if t.Before(wake) {
			wake = t
		}
	}
	switch {
	case e.retry.failures > 0:
		earlier(e.retry.at)
	case e.written:
		earlier(e.nextDrift)
		earlier(e.nextSync)
	}
	return max(wake.Sub(now), 0)
}

// take compiles the updates that wait in the queue.
func (e *Engine) take() {
	updates := e.cfg.Queue.Take()
	if len(updates) == 0 {
		return
	}
	start := time.Now()
	changed := len(e.arrived)
	for _, u := range updates {
		if e.model.update(u) {
			e.resync = reasonReplaced
			e.delta = program.NewDelta()
		}
		if d := e.model.compiler.TakeDelta(); !d.Empty() {
			e.delta.Merge(d)
			e.arrived = append(e.arrived, u.At)
		}
		if u.Key.Kind == source.Policy {
			e.untold = true
		}
	}
	e.gaugesStale = true
	if len(e.arrived) > changed || e.resync == reasonReplaced {
		e.retry.arrived()
	}
	e.cfg.Metrics.Compile.Observe(time.Since(start).Seconds())
}

// pending returns the number of changes that the kernel may lack.
func (e *Engine) pending() int {
	d := e.delta
	n := len(d.Locals) + len(d.Stacks) + len(d.Policies)
	for _, members := range d.Sets {
		n += 1 + len(members)
	}
	return n
}
