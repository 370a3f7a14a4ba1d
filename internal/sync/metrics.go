package sync

import (
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/netpol-agent/netpol-agent/internal/render"
)

// Metrics are the agent's metrics, in a registry of their own.
type Metrics struct {
	Registry *prometheus.Registry

	Rules, Chains, Sets, Elements *prometheus.GaugeVec
	Policies                      *prometheus.GaugeVec
	LocalPods                     *prometheus.GaugeVec
	Objects                       *prometheus.GaugeVec
	Diagnostics                   prometheus.Gauge
	ObjectPanics                  prometheus.Counter

	Compile       prometheus.Histogram
	Apply         prometheus.Histogram
	EventToKernel prometheus.Histogram
	Applied       *prometheus.CounterVec
	Resyncs       *prometheus.CounterVec
	LastSync      prometheus.Gauge
	Queue         prometheus.GaugeFunc

	BridgeOK     prometheus.Gauge
	APIReachable prometheus.Gauge

	CutFlows    prometheus.Counter
	CutDuration prometheus.Histogram
	CutErrors   prometheus.Counter
}

// fastBuckets are for what takes about a millisecond when all is well.
var fastBuckets = []float64{
	0.001, 0.002, 0.003, 0.004, 0.005, 0.0075, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30,
}

// compileBuckets begin lower: one event's compilation takes some microseconds.
var compileBuckets = []float64{
	0.00001, 0.00003, 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3,
}

// Label values, kept in one place because the zero of each is exported from the start.
const (
	resultOK, resultError          = "ok", "error"
	resyncClean, resyncRepaired    = "clean", "repaired"
	stateEnforced, statePartly     = "enforced", "partly_understood"
	stateIdle                      = "not_selecting"
	isolationNone, isolationIn     = "none", "ingress"
	isolationOut, isolationBoth    = "egress", "both"
	objPods, objNamespaces, objPol = "pods", "namespaces", "networkpolicies"
)

// NewMetrics gives the agent's metrics; version goes to build_info, waiting is the queue's length.
func NewMetrics(version string, waiting func() int) *Metrics {
	r := prometheus.NewRegistry()
	b := builder{r}
	m := &Metrics{
		Registry: r,
		Rules:    b.gauges("rules", "Rules installed in the kernel, by address family.", "family"),
		Chains:   b.gauges("chains", "Chains installed in the kernel, by address family.", "family"),
		Sets:     b.gauges("sets", "Sets and maps installed in the kernel, by address family.", "family"),
		Elements: b.gauges("elements", "Set and map elements installed in the kernel, by address family.", "family"),
		Policies: b.gauges("policies", "NetworkPolicies of the cluster by what this node does with them: enforced on a "+
			"pod here, partly_understood (what is not understood matches nothing), or not_selecting any pod here.", "state"),
		LocalPods: b.gauges("local_pods", "Pods of this node with an address that policies can judge, by the directions "+
			"in which they are isolated.", "isolation"),
		Objects:      b.gauges("objects", "Objects of the cluster that the agent knows, by resource.", "resource"),
		Diagnostics:  b.gauge("diagnostics", "Parts of policies that are not understood and therefore match nothing."),
		ObjectPanics: b.counter("object_panics_total", "Objects over which the compiler failed; any is a defect of the agent."),

		Compile: b.histogram("compile_duration_seconds", "Time to compile what was taken from the queue in one turn.", compileBuckets),
		Apply:   b.histogram("apply_duration_seconds", "Time of one transaction, the kernel's part included.", fastBuckets),
		EventToKernel: b.histogram("event_to_kernel_seconds", "Time from the moment an informer delivered an event that "+
			"changes rules to the committed transaction. Events of the initial list do not count.", fastBuckets),
		Applied: b.counters("apply_total", "Transactions by result.", "result"),
		Resyncs: b.counters("resync_total", "Full comparisons of kernel and program, by whether the kernel differed and was repaired.", "result"),
		LastSync: b.gauge("last_successful_sync_timestamp_seconds",
			"When the kernel last equalled the rule program, as Unix time."),
		BridgeOK: b.gauge("bridge_netfilter_ok",
			"1 if bridged packets between pods of this node reach the rules, or no pod hangs on a bridge; else 0."),
		APIReachable: b.gauge("api_server_reachable", "1 if the last requests to the API server succeeded; else 0."),

		CutFlows:    b.counter("cut_flows_total", "Live connections that were cut because a change of policies forbids them."),
		CutDuration: b.histogram("cut_duration_seconds", "Time to find and cut the connections that one change forbids.", fastBuckets),
		CutErrors:   b.counter("cut_errors_total", "Passes over the live connections that failed; each is repeated."),
	}
	m.Queue = b.gaugeFunc("queued_events", "Events that wait for the engine.", func() float64 { return float64(waiting()) })
	b.runtime(version)
	m.zero()
	return m
}

// zero exports every label value from the start, so that a rate can be taken over the first event.
func (m *Metrics) zero() {
	for v, labels := range map[*prometheus.CounterVec][]string{
		m.Applied: {resultOK, resultError},
		m.Resyncs: {resyncClean, resyncRepaired},
	} {
		for _, l := range labels {
			v.WithLabelValues(l)
		}
	}
	for v, labels := range map[*prometheus.GaugeVec][]string{
		m.Policies:  {stateEnforced, statePartly, stateIdle},
		m.LocalPods: {isolationNone, isolationIn, isolationOut, isolationBoth},
		m.Objects:   {objPods, objNamespaces, objPol},
	} {
		for _, l := range labels {
			v.WithLabelValues(l)
		}
	}
}

// committed notes one successful transaction and the events that it carried.
func (m *Metrics) committed(start time.Time, events []time.Time) {
	now := time.Now()
	m.Applied.WithLabelValues(resultOK).Inc()
	m.Apply.Observe(now.Sub(start).Seconds())
	m.LastSync.Set(float64(now.UnixNano()) / 1e9)
	for _, at := range events {
		m.EventToKernel.Observe(now.Sub(at).Seconds())
	}
}

// installed notes what the backend has in the kernel.
func (m *Metrics) installed(byFamily map[string]render.Counts) {
	for family, c := range byFamily {
		m.Rules.WithLabelValues(family).Set(float64(c.Rules))
		m.Chains.WithLabelValues(family).Set(float64(c.Chains))
		m.Sets.WithLabelValues(family).Set(float64(c.Sets))
		m.Elements.WithLabelValues(family).Set(float64(c.Elements))
	}
}

// builder makes and registers metrics under the agent's prefix.
type builder struct{ r prometheus.Registerer }

const namespace = "netpol_agent"

func (b builder) gauge(name, help string) prometheus.Gauge {
	g := prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help})
	b.r.MustRegister(g)
	return g
}

func (b builder) gaugeFunc(name, help string, f func() float64) prometheus.GaugeFunc {
	g := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, f)
	b.r.MustRegister(g)
	return g
}

func (b builder) gauges(name, help, label string) *prometheus.GaugeVec {
	g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, []string{label})
	b.r.MustRegister(g)
	return g
}

func (b builder) counter(name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help})
	b.r.MustRegister(c)
	return c
}

func (b builder) counters(name, help, label string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, []string{label})
	b.r.MustRegister(c)
	return c
}

func (b builder) histogram(name, help string, buckets []float64) prometheus.Histogram {
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: buckets})
	b.r.MustRegister(h)
	return h
}

// runtime adds what every Go program has.
func (b builder) runtime(version string) {
	info := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: namespace, Name: "build_info", Help: "Always 1; the labels say what is running.",
	}, []string{"version", "goversion"})
	info.WithLabelValues(version, runtime.Version()).Set(1)
	b.r.MustRegister(info, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
}
