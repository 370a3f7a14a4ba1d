package report

import (
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// MetricType is the type of a metric in Prometheus.
type MetricType string

// The types in use.
const (
	TypeGauge     MetricType = "gauge"
	TypeCounter   MetricType = "counter"
	TypeHistogram MetricType = "histogram"
)

// Metric is the definition of one metric. The metric is registered from it, and docs/metrics.md is generated from it.
type Metric struct {
	// Name is the full name.
	Name string
	Type MetricType
	// Unit is "seconds", "boolean", or what is counted.
	Unit string
	// Help explains the metric in a sentence or two.
	Help string
	// Labels are in the order in which their values are passed.
	Labels []Label
	// Buckets are the upper bounds of a histogram's buckets.
	Buckets []float64
}

// Label is one of a metric's own labels. The scraping Prometheus adds others.
type Label struct {
	Name string
	// Values are all that occur, or empty if they depend on the build. Each is exported from the start, so that a rate
	// covers the first increment.
	Values []string
}

// metricPrefix begins the names of the agent's own metrics.
const metricPrefix = "netpol_agent_"

// builder registers metrics under the agent's prefix and keeps their definitions.
type builder struct {
	promauto.Factory
	defs []Metric
}

func (b *builder) define(d Metric) prometheus.Opts {
	d.Name = metricPrefix + d.Name
	b.defs = append(b.defs, d)
	return prometheus.Opts{Name: d.Name, Help: d.Help}
}

func (b *builder) gauge(name, unit, help string) prometheus.Gauge {
	return b.NewGauge(prometheus.GaugeOpts(b.define(Metric{Name: name, Type: TypeGauge, Unit: unit, Help: help})))
}

func (b *builder) gaugeFunc(name, unit, help string, f func() float64) {
	b.NewGaugeFunc(prometheus.GaugeOpts(b.define(Metric{Name: name, Type: TypeGauge, Unit: unit, Help: help})), f)
}

func (b *builder) gauges(name, unit, help string, label Label) *prometheus.GaugeVec {
	opts := b.define(Metric{Name: name, Type: TypeGauge, Unit: unit, Help: help, Labels: []Label{label}})
	v := b.NewGaugeVec(prometheus.GaugeOpts(opts), []string{label.Name})
	for _, value := range label.Values {
		v.WithLabelValues(value)
	}
	return v
}

func (b *builder) counter(name, unit, help string) prometheus.Counter {
	return b.NewCounter(prometheus.CounterOpts(b.define(Metric{Name: name, Type: TypeCounter, Unit: unit, Help: help})))
}

func (b *builder) counters(name, unit, help string, label Label) *prometheus.CounterVec {
	opts := b.define(Metric{Name: name, Type: TypeCounter, Unit: unit, Help: help, Labels: []Label{label}})
	v := b.NewCounterVec(prometheus.CounterOpts(opts), []string{label.Name})
	for _, value := range label.Values {
		v.WithLabelValues(value)
	}
	return v
}

// histogram defines a histogram of durations. There are no others.
func (b *builder) histogram(name, help string, buckets []float64) prometheus.Histogram {
	opts := b.define(Metric{Name: name, Type: TypeHistogram, Unit: "seconds", Help: help, Buckets: buckets})
	return b.NewHistogram(prometheus.HistogramOpts{Name: opts.Name, Help: opts.Help, Buckets: buckets})
}

// build exports which version of the program is running.
func (b *builder) build(version string) {
	opts := b.define(Metric{Name: "build_info", Type: TypeGauge, Unit: "none", Help: "Always 1; the labels name the version that is running.",
		Labels: []Label{{Name: "version"}, {Name: "goversion"}}})
	b.NewGaugeVec(prometheus.GaugeOpts(opts), []string{"version", "goversion"}).WithLabelValues(version, runtime.Version()).Set(1)
}
