package sync

import (
	"context"
	"errors"
	"log/slog"
	"time"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/netpol-agent/netpol-agent/internal/compiler"
	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/render"
)

// ErrStopped is what Engine.Do gives after the engine has ended.
var ErrStopped = errors.New("the engine has ended")

// EngineConfig is what an Engine works with.
type EngineConfig struct {
	NewCompiler func() Compiler
	Backend     render.Backend
	Queue       *Queue
	Health      *Health
	Metrics     *Metrics
	Log         *slog.Logger
	Hooks       Hooks
	// Resync is the time between two full comparisons of kernel and program; 0 means 60 s.
	Resync time.Duration
	// Drift is the time between two cheap checks whether somebody else changed the kernel's rules; 0 means 1 s, or half
	// of it if the check is precise, because a rule in front of ours lets packets through. A precise check is not put off
	// after a comparison that took long; otherwise others' frequent commits could keep us comparing.
	Drift time.Duration
}

// Hooks are called in the engine's goroutine. They must not block; nil ones are left out.
type Hooks struct {
	// Committed comes after each successful transaction that wrote something.
	Committed func(p *program.Program, c Change)
	// Failed comes after each failed one.
	Failed func(err error, failures int)
	// Diagnosed comes when what is not understood has changed, with all of it.
	Diagnosed func(reports []Report)
	// Left comes after each full comparison, and whenever else something of ours could not be removed that decides
	// over no packet any more; err is nil if there is no such thing.
	Left func(err error)
}

// Change says what a successful transaction may have changed.
type Change struct {
	// Delta names it, unless All is set.
	Delta *program.Delta
	// All says that anything may have changed: at the first write, and after a repair.
	All bool
}

// Report is what is not understood of one policy object.
type Report struct {
	// Policy as the cluster has it; its spec may be the last one that compiled.
	Policy      *networkingv1.NetworkPolicy
	Diagnostics []compiler.Diagnostic
}

// Engine owns compiler and backend: it takes events, compiles them and writes what follows.
type Engine struct {
	cfg     EngineConfig
	log     *slog.Logger
	metrics *Metrics
	health  *Health

	calls   chan func()
	synced  chan struct{}
	stopped chan struct{}

	model *model
	// delta names what the program has and the kernel may lack; events are the times at which that became known.
	delta  *program.Delta
	events []time.Time
	// complete says that the model has every object of the cluster; before, nothing is written.
	complete bool
	// written says that kernel and program have been equal once; before, nothing is applied in parts.
	written bool
	// resync says why a full comparison is wanted now; empty if it is not.
	resync    string
	retry     retry
	nextSync  time.Time
	nextDrift time.Time
	failLog   time.Time

	reports reporter
	gauges  gaugeState
}

// NewEngine gives an engine that has not begun.
func NewEngine(cfg EngineConfig) *Engine {
	cfg.Resync = orDefault(cfg.Resync, 60*time.Second)
	if cfg.Backend.PreciseDrift() {
		cfg.Drift = orDefault(cfg.Drift, 500*time.Millisecond)
	}
	cfg.Drift = orDefault(cfg.Drift, time.Second)
	return &Engine{
		cfg:     cfg,
		log:     cfg.Log,
		metrics: cfg.Metrics,
		health:  cfg.Health,
		calls:   make(chan func()),
		synced:  make(chan struct{}),
		stopped: make(chan struct{}),
		model:   newModel(cfg.NewCompiler, cfg.Log, cfg.Metrics),
		delta:   program.NewDelta(),
	}
}

// MarkSynced says that the queue has got every object of the cluster at least once. Before, the engine
// compiles but writes nothing: rules made from half of the objects would close what is open, and the rules
// of a former run are better than that. To be called once.
func (e *Engine) MarkSynced() { close(e.synced) }

// Do runs f in the engine's goroutine, between two transactions, and waits for it.
func (e *Engine) Do(ctx context.Context, f func()) error {
	var failed error
	done := make(chan struct{})
	call := func() {
		defer close(done)
		failed = guard(func() error { f(); return nil })
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

// Run works until ctx ends. A transaction that is under way then is finished, and the rules stay.
func (e *Engine) Run(ctx context.Context) {
	defer close(e.stopped)
	timer := time.NewTimer(0)
	defer timer.Stop()
	synced := e.synced
	for {
		e.health.Beat()
		select {
		case <-ctx.Done():
			e.log.Info("stopped; the rules stay in force", "uncommitted_changes", e.pending())
			return
		case <-synced:
			synced = nil
			e.caughtUp()
		case <-e.cfg.Queue.Wake():
		case call := <-e.calls:
			call()
		case <-timer.C:
		}
		e.step()
		timer.Reset(e.untilNext(time.Now()))
	}
}

func (e *Engine) caughtUp() {
	e.health.Synced()
	e.complete, e.resync = true, reasonStart
	e.log.Info("caches are in sync")
}

// step takes what has come and does the one thing that is most needed. Run calls it again at once if more
// is due.
func (e *Engine) step() {
	e.take()
	switch e.due(time.Now()) {
	case doSync:
		e.fullSync()
	case doApply:
		e.apply()
	case doDrift:
		e.checkDrift()
	case doNothing:
	}
	e.housekeep()
}

type action uint8

const (
	doNothing action = iota
	doSync
	doApply
	doDrift
)

func (e *Engine) due(now time.Time) action {
	switch {
	case !e.complete, e.retry.waiting(now):
		return doNothing
	case !e.written, e.resync != "", e.retry.failures > 1, !now.Before(e.nextSync):
		return doSync
	case e.retry.failures > 0, !e.delta.Empty():
		return doApply
	case !now.Before(e.nextDrift):
		return doDrift
	}
	return doNothing
}

// untilNext gives how long the loop may sleep if nothing comes. It always wakes in time for the heartbeat.
func (e *Engine) untilNext(now time.Time) time.Duration {
	if e.due(now) != doNothing {
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

// take compiles what waits in the queue.
func (e *Engine) take() {
	events := e.cfg.Queue.Take()
	if len(events) == 0 {
		return
	}
	start := time.Now()
	changed := len(e.events)
	for _, ev := range events {
		if e.model.update(ev) {
			e.resync = reasonReplaced
			e.delta = program.NewDelta()
		}
		if d := e.model.compiler.TakeDelta(); !d.Empty() {
			e.delta.Merge(d)
			e.events = append(e.events, ev.At)
		}
		if ev.Key.Kind == Policy {
			e.reports.stale = true
		}
	}
	e.gauges.stale = true
	if len(e.events) > changed || e.resync == reasonReplaced {
		e.retry.event()
	}
	e.metrics.Compile.Observe(time.Since(start).Seconds())
}

func (e *Engine) pending() int {
	d := e.delta
	n := len(d.Locals) + len(d.Stacks) + len(d.Policies)
	for _, members := range d.Sets {
		n += 1 + len(members)
	}
	return n
}
