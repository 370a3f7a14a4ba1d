package sync

import (
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// MetricType is what Prometheus knows a metric as.
type MetricType string

// The types that occur.
const (
	TypeGauge     MetricType = "gauge"
	TypeCounter   MetricType = "counter"
	TypeHistogram MetricType = "histogram"
)

// Metric is the definition of one metric. The metric is registered from it, and docs/metrics.md is written from it.
type Metric struct {
	// Name is the full name.
	Name string
	Type MetricType
	// Unit is what one is: "seconds", or what is counted.
	Unit string
	// Help says what it means, in a sentence or two.
	Help string
	// Labels are in the order in which values are given for them.
	Labels []Label
	// Buckets are the upper bounds of a histogram's buckets.
	Buckets []float64
}

// Label is a label that a metric has besides those that the scraping Prometheus adds.
type Label struct {
	Name string
	// Values are all that occur; empty if they depend on the build. Each is exported from the start, so that a rate
	// can be taken over the first event.
	Values []string
}

// Metrics under this prefix are the agent's own.
const metricPrefix = "netpol_agent_"

// builder registers metrics under the agent's prefix and keeps their definitions.
type builder struct {
	r    prometheus.Registerer
	defs []Metric
}

func (b *builder) define(d Metric) Metric {
	d.Name = metricPrefix + d.Name
	b.defs = append(b.defs, d)
	return d
}

func (b *builder) gauge(name, unit, help string) prometheus.Gauge {
	d := b.define(Metric{Name: name, Type: TypeGauge, Unit: unit, Help: help})
	g := prometheus.NewGauge(prometheus.GaugeOpts{Name: d.Name, Help: d.Help})
	b.r.MustRegister(g)
	return g
}

func (b *builder) gaugeFunc(name, unit, help string, f func() float64) {
	d := b.define(Metric{Name: name, Type: TypeGauge, Unit: unit, Help: help})
	b.r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: d.Name, Help: d.Help}, f))
}

func (b *builder) gauges(name, unit, help string, label Label) *prometheus.GaugeVec {
	d := b.define(Metric{Name: name, Type: TypeGauge, Unit: unit, Help: help, Labels: []Label{label}})
	v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: d.Name, Help: d.Help}, []string{label.Name})
	b.r.MustRegister(v)
	for _, value := range label.Values {
		v.WithLabelValues(value)
	}
	return v
}

func (b *builder) counter(name, unit, help string) prometheus.Counter {
	d := b.define(Metric{Name: name, Type: TypeCounter, Unit: unit, Help: help})
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: d.Name, Help: d.Help})
	b.r.MustRegister(c)
	return c
}

func (b *builder) counters(name, unit, help string, label Label) *prometheus.CounterVec {
	d := b.define(Metric{Name: name, Type: TypeCounter, Unit: unit, Help: help, Labels: []Label{label}})
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: d.Name, Help: d.Help}, []string{label.Name})
	b.r.MustRegister(v)
	for _, value := range label.Values {
		v.WithLabelValues(value)
	}
	return v
}

// histogram is of durations: other ones do not occur.
func (b *builder) histogram(name, help string, buckets []float64) prometheus.Histogram {
	d := b.define(Metric{Name: name, Type: TypeHistogram, Unit: "seconds", Help: help, Buckets: buckets})
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: d.Name, Help: d.Help, Buckets: d.Buckets})
	b.r.MustRegister(h)
	return h
}

// build tells which program runs.
func (b *builder) build(version string) {
	d := b.define(Metric{Name: "build_info", Type: TypeGauge, Unit: "none", Help: "Always 1; the labels say what is running.",
		Labels: []Label{{Name: "version"}, {Name: "goversion"}}})
	v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: d.Name, Help: d.Help}, []string{"version", "goversion"})
	b.r.MustRegister(v)
	v.WithLabelValues(version, runtime.Version()).Set(1)
}

// program adds what every Go program has; docs/metrics.md leaves that to its own documentation.
func (b *builder) program() {
	b.r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
}
