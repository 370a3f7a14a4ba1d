package engine

import (
	"time"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/render"
)

// apply writes the pending changes in one transaction.
func (e *Engine) apply() {
	start := time.Now()
	stats, err := Guard(func() (render.Stats, error) { return e.cfg.Backend.Apply(e.model.compiler.Program(), e.delta) })
	if err != nil {
		e.failed(start, err)
		return
	}
	e.log.Debug("applied", "ops", stats.Ops, "elements", stats.Elements, "full", stats.Full,
		"updates", len(e.arrived), "took", time.Since(start))
	if stats.Left != nil {
		e.left(stats)
	}
	e.committed(start, Change{Delta: e.delta, All: stats.Full})
}

// fullSync makes the kernel equal to the program, whatever the kernel has.
func (e *Engine) fullSync() {
	start := time.Now()
	why, foreign := e.resync, e.onlyForeignChanges()
	stats, err := Guard(func() (render.Stats, error) { return e.cfg.Backend.Sync(e.model.compiler.Program()) })
	e.schedule(start)
	if err != nil {
		e.failed(start, err)
		return
	}
	took := time.Since(start)
	switch {
	case !e.written:
		e.log.Info("enforcing", "ops", stats.Ops, "elements", stats.Elements, "adopted", !stats.Full, "took", took)
		// The initial lists say nothing about the delay of an update.
		e.arrived = nil
	case foreign && wrote(stats):
		e.cfg.Metrics.Compared(true)
		e.log.Warn("kernel differed from the program and was repaired", "ops", stats.Ops, "reason", why, "took", took)
	default:
		e.cfg.Metrics.Compared(false)
		e.log.Debug("compared", "ops", stats.Ops, "reason", why, "took", took)
	}
	all := !e.written || why == reasonReplaced || stats.Full || (foreign && wrote(stats))
	e.written, e.resync = true, ""
	e.left(stats)
	e.committed(start, Change{Delta: e.delta, All: all})
}

// left tells why something could not be removed, or that nothing is left.
func (e *Engine) left(stats render.Stats) {
	if e.cfg.Hooks.Left != nil {
		e.cfg.Hooks.Left(stats.Left)
	}
}

// wrote reports whether the kernel lacked anything.
func wrote(s render.Stats) bool { return s.Full || s.Ops+s.Elements > 0 }

// onlyForeignChanges reports whether somebody else must have caused any difference that a comparison finds now.
func (e *Engine) onlyForeignChanges() bool {
	return e.written && e.retry.failures == 0 && e.delta.Empty() && e.resync != reasonReplaced && e.resync != reasonSwept
}

// schedule sets the time of the next comparison, in proportion to the cost of the one that began at start.
func (e *Engine) schedule(start time.Time) {
	now := time.Now()
	rest := dutyCycle * now.Sub(start)
	e.nextSync = now.Add(max(e.cfg.Resync, rest))
	e.nextDrift = now.Add(max(e.cfg.Drift, rest))
	if e.cfg.Backend.PreciseDrift() {
		e.nextDrift = now.Add(e.cfg.Drift)
	}
}

// committed records that kernel and program are equal.
func (e *Engine) committed(start time.Time, c Change) {
	e.cfg.Metrics.Committed(start, e.arrived)
	e.cfg.Health.Wrote()
	if e.retry.failures > 0 {
		e.log.Info("transactions succeed again", "failures", e.retry.failures)
	}
	e.retry.reset()
	e.delta, e.arrived = program.NewDelta(), nil
	e.gaugesStale = true
	if e.cfg.Hooks.Committed != nil && (c.All || !c.Delta.Empty()) {
		e.cfg.Hooks.Committed(e.model.compiler.Program(), c)
	}
}

// failed records that kernel and program may differ, and when to try again.
func (e *Engine) failed(start time.Time, err error) {
	e.cfg.Metrics.Failed(start)
	e.cfg.Health.Failed(err)
	e.retry.failed(start)
	if now := time.Now(); e.retry.failures == 1 || now.Sub(e.failLog) >= failLogEvery {
		e.failLog = now
		attrs := append(logged(err), "failures", e.retry.failures, "next_try_in", e.retry.at.Sub(now),
			"uncommitted_changes", e.pending())
		e.log.Error("transaction failed, the kernel keeps the former rules", attrs...)
	}
	if e.cfg.Hooks.Failed != nil {
		e.cfg.Hooks.Failed(err)
	}
}

// checkDrift checks whether somebody else has changed the kernel's rules.
func (e *Engine) checkDrift() {
	start := time.Now()
	e.nextDrift = start.Add(e.cfg.Drift)
	drifted, err := Guard(e.cfg.Backend.Drifted)
	switch {
	case err != nil:
		e.failed(start, err)
		e.resync = reasonDriftUnknown
	case drifted:
		e.resync = reasonDrift
	}
}

// Reasons for a full comparison besides the passing of time.
const (
	reasonStart        = "start"
	reasonReplaced     = "compiler replaced"
	reasonSwept        = "rules of another backend are gone"
	reasonDrift        = "rules changed by somebody else"
	reasonDriftUnknown = "drift check failed"
)

// failLogEvery bounds the log of a failure that lasts.
const failLogEvery = 10 * time.Second
