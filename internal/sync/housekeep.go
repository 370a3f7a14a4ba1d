package sync

import (
	"cmp"
	"maps"
	"slices"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/netpol-agent/netpol-agent/internal/compiler"
	"github.com/netpol-agent/netpol-agent/internal/render"
)

// gaugesEvery bounds how often the gauges that walk over all local pods and policies are brought up to date,
// so that they cost an event nothing.
const gaugesEvery = time.Second

// gaugeState says whether the gauges lag behind.
type gaugeState struct {
	stale bool
	at    time.Time
}

// reporter remembers which diagnostics are already told.
type reporter struct {
	stale bool
	told  map[compiler.Diagnostic]struct{}
}

// housekeep does what may wait until the transaction is through.
func (e *Engine) housekeep() {
	if e.reports.stale {
		e.reports.stale = false
		e.report()
	}
	if now := time.Now(); e.gauges.stale && now.Sub(e.gauges.at) >= gaugesEvery {
		e.gauges = gaugeState{at: now}
		e.updateGauges()
	}
}

// report tells what is newly not understood, and what is understood again.
func (e *Engine) report() {
	diags := e.model.diagnostics()
	now := make(map[compiler.Diagnostic]struct{}, len(diags))
	changed := false
	for _, d := range diags {
		now[d] = struct{}{}
		if _, ok := e.reports.told[d]; !ok {
			changed = true
			e.log.Warn("policy is not fully understood", "policy", policyName(d).String(), "field", d.Field, "problem", d.Message)
		}
	}
	for d := range e.reports.told {
		if _, ok := now[d]; !ok {
			changed = true
			e.log.Info("problem of a policy is gone", "policy", policyName(d).String(), "field", d.Field)
		}
	}
	e.reports.told = now
	e.metrics.Diagnostics.Set(float64(len(diags)))
	if changed && e.cfg.Hooks.Diagnosed != nil {
		e.cfg.Hooks.Diagnosed(e.grouped(diags))
	}
}

// grouped gives one report for each policy object that has diagnostics, sorted by name.
func (e *Engine) grouped(diags []compiler.Diagnostic) []Report {
	byPolicy := map[types.NamespacedName][]compiler.Diagnostic{}
	for _, d := range diags {
		byPolicy[policyName(d)] = append(byPolicy[policyName(d)], d)
	}
	out := make([]Report, 0, len(byPolicy))
	for name, ds := range byPolicy {
		if np, ok := e.model.objects[Policy][name].(*networkingv1.NetworkPolicy); ok {
			out = append(out, Report{Policy: np, Diagnostics: ds})
		}
	}
	slices.SortFunc(out, func(a, b Report) int {
		return cmp.Or(cmp.Compare(a.Policy.Namespace, b.Policy.Namespace), cmp.Compare(a.Policy.Name, b.Policy.Name))
	})
	return out
}

func policyName(d compiler.Diagnostic) types.NamespacedName {
	return types.NamespacedName{Namespace: d.Namespace, Name: d.Policy}
}

func (e *Engine) updateGauges() {
	p := e.model.compiler.Program()
	states := map[string]int{stateEnforced: 0, statePartly: 0, stateIdle: 0}
	for _, s := range e.policyStatuses() {
		states[s.State]++
	}
	for state, n := range states {
		e.metrics.Policies.WithLabelValues(state).Set(float64(n))
	}
	for name, n := range isolationCounts(p) {
		e.metrics.LocalPods.WithLabelValues(name).Set(float64(n))
	}
	for name, n := range e.objectCounts() {
		e.metrics.Objects.WithLabelValues(name).Set(float64(n))
	}
	e.metrics.installed(e.installed())
}

func (e *Engine) policyStatuses() []PolicyStatus {
	known := slices.Collect(maps.Keys(e.model.objects[Policy]))
	return policyStatuses(known, e.model.compiler.Program(), e.model.diagnostics())
}

// installed asks the backend for its counts; one that fails over it has none.
func (e *Engine) installed() (out map[string]render.Counts) {
	if err := guard(func() error { out = maps.Clone(e.cfg.Backend.Counts()); return nil }); err != nil {
		e.log.Error("counting what is installed failed", "error", err)
	}
	return out
}

func (e *Engine) objectCounts() map[string]int {
	return map[string]int{
		objPods:       len(e.model.objects[Pod]),
		objNamespaces: len(e.model.objects[Namespace]),
		objPol:        len(e.model.objects[Policy]),
	}
}
