package engine

import (
	"cmp"
	"maps"
	"slices"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/netpol-agent/netpol-agent/internal/compiler"
	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/render"
	"github.com/netpol-agent/netpol-agent/internal/sync/report"
	"github.com/netpol-agent/netpol-agent/internal/sync/source"
)

// gaugesEvery bounds how often the gauges are updated that need a walk over all local pods and policies, so that they
// add nothing to the cost of an update.
const gaugesEvery = time.Second

// housekeep does what may wait until the transaction is through.
func (e *Engine) housekeep() {
	if e.untold {
		e.untold = false
		e.diagnose()
	}
	if now := time.Now(); e.gaugesStale && now.Sub(e.gaugesAt) >= gaugesEvery {
		e.gaugesStale, e.gaugesAt = false, now
		e.cfg.Metrics.Show(e.state())
	}
}

// diagnose tells what is newly not understood, and what is understood again.
func (e *Engine) diagnose() {
	diags := e.model.diagnostics()
	now := make(map[compiler.Diagnostic]struct{}, len(diags))
	changed := false
	for _, d := range diags {
		now[d] = struct{}{}
		if _, ok := e.told[d]; !ok {
			changed = true
			e.log.Warn("policy is not fully understood", "policy", d.Policy.String(), "field", d.Field, "problem", d.Message)
		}
	}
	for d := range e.told {
		if _, ok := now[d]; !ok {
			changed = true
			e.log.Info("problem of a policy is gone", "policy", d.Policy.String(), "field", d.Field)
		}
	}
	e.told = now
	e.cfg.Metrics.Diagnostics.Set(float64(len(diags)))
	if changed && e.cfg.Hooks.Diagnosed != nil {
		e.cfg.Hooks.Diagnosed(e.problems(diags))
	}
}

// problems returns the diagnostics of each policy object that has any, sorted by name.
func (e *Engine) problems(diags []compiler.Diagnostic) []report.PolicyProblems {
	byPolicy := map[program.PolicyRef][]compiler.Diagnostic{}
	for _, d := range diags {
		byPolicy[d.Policy] = append(byPolicy[d.Policy], d)
	}
	out := make([]report.PolicyProblems, 0, len(byPolicy))
	for ref, ds := range byPolicy {
		name := types.NamespacedName{Namespace: ref.Namespace, Name: ref.Name}
		if np, ok := e.model.objects[source.Policy][name].(*networkingv1.NetworkPolicy); ok {
			out = append(out, report.PolicyProblems{Policy: np, Diagnostics: ds})
		}
	}
	slices.SortFunc(out, func(a, b report.PolicyProblems) int {
		return cmp.Or(cmp.Compare(a.Policy.Namespace, b.Policy.Namespace), cmp.Compare(a.Policy.Name, b.Policy.Name))
	})
	return out
}

// state returns what the metrics and the status show.
func (e *Engine) state() report.State {
	return report.State{
		Policies: slices.Collect(maps.Keys(e.model.objects[source.Policy])), Program: e.model.compiler.Program(), Diagnostics: e.model.diagnostics(),
		Objects: e.model.counts(), Installed: e.installed(), Table: e.cfg.Backend.Table(), Pending: e.pending(),
	}
}

// installed returns the backend's counts, or none if it fails on that.
func (e *Engine) installed() map[string]render.Counts {
	out, err := Guard(func() (map[string]render.Counts, error) { return maps.Clone(e.cfg.Backend.Counts()), nil })
	if err != nil {
		e.log.Error("counting what is installed failed", "error", err)
	}
	return out
}
