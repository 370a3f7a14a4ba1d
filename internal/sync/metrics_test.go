package sync

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
)

var update = flag.Bool("update", false, "write "+metricsDoc+" anew")

const metricsDoc = "../../docs/metrics.md"

func gathered(t *testing.T, m *Metrics) map[string]*dto.MetricFamily {
	t.Helper()
	families, err := m.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]*dto.MetricFamily{}
	for _, f := range families {
		out[f.GetName()] = f
	}
	return out
}

func newMetrics() *Metrics { return NewMetrics("test", func() int { return 0 }) }

func TestMetricsFollowPrometheusConventions(t *testing.T) {
	families := gathered(t, newMetrics())
	var own []*dto.MetricFamily
	for name, f := range families {
		if strings.HasPrefix(name, metricPrefix) {
			own = append(own, f)
		}
	}
	problems, err := promlint.NewWithMetricFamilies(own).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	for _, d := range newMetrics().Definitions() {
		if strings.HasSuffix(d.Name, "_total") != (d.Type == TypeCounter) {
			t.Errorf("%s: _total is for counters, and they end in it", d.Name)
		}
		if strings.HasSuffix(strings.TrimSuffix(d.Name, "_total"), "_seconds") != (d.Unit == "seconds") {
			t.Errorf("%s: the name does not tell the unit %s", d.Name, d.Unit)
		}
		if !strings.HasSuffix(d.Help, ".") || strings.ContainsAny(d.Help, "|\n") {
			t.Errorf("%s: the help is no sentence that fits a table: %q", d.Name, d.Help)
		}
	}
}

// TestMetricsAreAsDefined holds, from the first scrape on, that what is exported is what the definitions say.
func TestMetricsAreAsDefined(t *testing.T) {
	m := newMetrics()
	families := gathered(t, m)
	for _, d := range m.Definitions() {
		f := families[d.Name]
		if f == nil {
			t.Errorf("%s is not exported from the start", d.Name)
			continue
		}
		delete(families, d.Name)
		if got := strings.ToLower(f.GetType().String()); got != string(d.Type) {
			t.Errorf("%s: type %s, defined as %s", d.Name, got, d.Type)
		}
		if f.GetHelp() != d.Help {
			t.Errorf("%s: help %q", d.Name, f.GetHelp())
		}
		if got, want := series(f), definedSeries(d); !slices.Equal(got, want) {
			t.Errorf("%s: series %q, defined are %q", d.Name, got, want)
		}
	}
	for name := range families {
		if strings.HasPrefix(name, metricPrefix) {
			t.Errorf("%s has no definition", name)
		}
	}
}

// series lists the labels of each series of a family, without the values of those that depend on the build.
func series(f *dto.MetricFamily) []string {
	var out []string
	for _, m := range f.GetMetric() {
		var labels []string
		for _, l := range m.GetLabel() {
			value := l.GetValue()
			if len(m.GetLabel()) > 1 {
				value = "*"
			}
			labels = append(labels, l.GetName()+"="+value)
		}
		slices.Sort(labels)
		out = append(out, strings.Join(labels, ","))
	}
	slices.Sort(out)
	return out
}

func definedSeries(d Metric) []string {
	if len(d.Labels) == 1 {
		var out []string
		for _, v := range d.Labels[0].Values {
			out = append(out, d.Labels[0].Name+"="+v)
		}
		slices.Sort(out)
		return out
	}
	var labels []string
	for _, l := range d.Labels {
		labels = append(labels, l.Name+"=*")
	}
	slices.Sort(labels)
	return []string{strings.Join(labels, ",")}
}

func TestReadyMetricSaysWhatReadyzSays(t *testing.T) {
	m, h := newMetrics(), NewHealth(0, 0, 0)
	ready := func() float64 { return gathered(t, m)["netpol_agent_ready"].GetMetric()[0].GetGauge().GetValue() }
	if ready() != 0 {
		t.Error("ready before there is any health")
	}
	m.ReadyAs(h)
	if ready() != 0 {
		t.Errorf("ready, although %v", h.NotReady())
	}
	h.Starting("")
	h.Synced()
	h.Wrote()
	if ready() != 1 {
		t.Errorf("not ready, although nothing is wrong: %v", h.NotReady())
	}
	h.Draining()
	if ready() != 0 {
		t.Error("ready while the agent ends")
	}
}

func TestMetricsDocumentIsCurrent(t *testing.T) {
	got := document(newMetrics().Definitions())
	if *update {
		if err := os.WriteFile(metricsDoc, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(metricsDoc)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s is not what the code says (\"make docs\" writes it anew):\n%s", metricsDoc, diff)
	}
}

const metricsIntro = `# Metrics

<!-- Written by "make docs" from the definitions in internal/sync/metrics.go. -->

Each agent tells what it does on its own node at ` + "`/metrics`" + ` of port 9475 (` + "`--metrics-bind-address`" + `, in the chart
` + "`metrics.port`" + `), in Prometheus' format. The chart brings what a Prometheus needs to find and use that: ` + "`podMonitor`" + ` or
` + "`serviceMonitor`" + `, alert rules (` + "`prometheusRule`" + `), and a dashboard for Grafana (` + "`monitoring.dashboard`" + `).

The chart's monitors add the label ` + "`node`" + `, by which the dashboard tells nodes apart. Who scrapes the agents another way
should add it too: ` + "`__meta_kubernetes_pod_node_name`" + ` has it.

Every metric is there from the start, with every value of its label: a counter without events says 0.

| metric | type | unit | labels | meaning |
|---|---|---|---|---|
`

const metricsOutro = `
The Go runtime's and the process's own metrics (` + "`go_*`, `process_*`, `promhttp_*`" + `) are there too.

## Buckets of the histograms

Upper bounds in seconds.

`

// document writes docs/metrics.md.
func document(defs []Metric) string {
	var b strings.Builder
	b.WriteString(metricsIntro)
	for _, d := range defs {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", d.Name, d.Type, d.Unit, documentLabels(d), d.Help)
	}
	b.WriteString(metricsOutro)
	for _, d := range defs {
		if d.Type == TypeHistogram {
			fmt.Fprintf(&b, "- `%s`: %s\n", d.Name, strings.Trim(strings.ReplaceAll(fmt.Sprint(d.Buckets), " ", ", "), "[]"))
		}
	}
	return b.String()
}

func documentLabels(d Metric) string {
	var out []string
	for _, l := range d.Labels {
		text := "`" + l.Name + "`"
		if len(l.Values) > 0 {
			text += ": `" + strings.Join(l.Values, "`, `") + "`"
		}
		out = append(out, text)
	}
	return strings.Join(out, "; ")
}
