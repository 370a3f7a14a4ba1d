package report

import (
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/netpol-agent/netpol-agent/internal/neighbour"
	"github.com/netpol-agent/netpol-agent/internal/sync/source"
)

// Metrics are the agent's metrics, in a registry of their own.
type Metrics struct {
	Registry *prometheus.Registry

	Rules, Chains, Sets, Elements                                          *prometheus.GaugeVec
	Policies, LocalPods, Objects, OtherEngine                              *prometheus.GaugeVec
	Diagnostics, LastSync, ResyncPeriod, BridgeOK, APIReachable, Leftovers prometheus.Gauge
	Compile, Apply, EventToKernel, LockWait, CutDuration                   prometheus.Histogram
	Applied, Resyncs                                                       *prometheus.CounterVec
	ObjectPanics, LockTimeouts, CutFlows, CutErrors                        prometheus.Counter

	defs []Metric
}

// fastBuckets are for work that normally takes about a millisecond.
var fastBuckets = []float64{0.001, 0.002, 0.003, 0.004, 0.005, 0.0075, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30}

// compileBuckets start lower: one update compiles in a few microseconds.
var compileBuckets = []float64{0.00001, 0.00003, 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3}

// Label values. The zero of each is exported from the start.
const (
	resultOK, resultError          = "ok", "error"
	resyncClean, resyncRepaired    = "clean", "repaired"
	stateEnforced, statePartly     = "enforced", "partly_understood"
	stateIdle                      = "not_selecting"
	familyV4, familyV6, familyBoth = "ipv4", "ipv6", "inet"
)

// NewMetrics returns the agent's metrics. Version goes to build_info, waiting returns the queue's length, and health
// answers the gauge of readiness. Both are asked at each scrape; nil is fine for metrics of which only the definitions
// are read.
func NewMetrics(version string, waiting func() int, health *Health) *Metrics {
	r := prometheus.NewRegistry()
	b := &builder{Factory: promauto.With(r)}
	m := &Metrics{Registry: r}
	m.state(b, health)
	m.inKernel(b)
	m.work(b, waiting)
	b.build(version)
	// docs/metrics.md does not list the metrics that every Go program has.
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.defs = b.defs
	return m
}

// state defines the metrics about what the agent enforces, and whether it does.
func (m *Metrics) state(b *builder, health *Health) {
	b.gaugeFunc("ready", "boolean", "1 if the agent is ready, as /readyz answers; else 0. /readyz and "+
		"\"netpol-agent status\" show the reasons.", func() float64 { return boolValue(len(health.NotReady()) == 0) })
	m.LastSync = b.gauge("last_successful_sync_timestamp_seconds", "seconds",
		"When the kernel was last known to equal the rule program, as Unix time; 0 before the first time.")
	m.ResyncPeriod = b.gauge("resync_period_seconds", "seconds", "Time between two full comparisons of kernel and program, as configured.")
	m.APIReachable = b.gauge("api_server_reachable", "boolean", "1 if the last requests to the API server succeeded; else 0.")
	m.BridgeOK = b.gauge("bridge_netfilter_ok", "boolean",
		"1 if bridged packets between pods of this node reach the rules, or no pod is attached to a bridge; else 0.")
	m.OtherEngine = b.gauges("other_policy_engine", "boolean", "1 if another policy engine has rules or interfaces on this node, "+
		"so that a packet must pass both; else 0.", Label{"engine", engineNames()})
	m.Leftovers = b.gauge("backend_leftovers", "kinds", "Kinds of rules and sets that a backend no longer in use left behind and that "+
		"could not be removed yet; \"netpol-agent status\" shows why. Such rules still judge packets by their last state.")
	m.Policies = b.gauges("policies", "policies", "NetworkPolicies of the cluster by what this node does with them: enforced on a "+
		"pod here, partly_understood (the parts that are not understood match nothing), or not_selecting any pod here.",
		Label{"state", []string{stateEnforced, statePartly, stateIdle}})
	m.Diagnostics = b.gauge("diagnostics", "fields", "Fields of policies that are not understood and therefore match nothing.")
	m.LocalPods = b.gauges("local_pods", "pods", "Pods of this node with an address that policies can judge, by the directions "+
		"in which they are isolated.", Label{"isolation", isolationNames()})
	m.Objects = b.gauges("objects", "objects", "Objects of the cluster that the agent knows, by resource.",
		Label{"resource", source.Resources()})
}

// inKernel defines the metrics about what is installed.
func (m *Metrics) inKernel(b *builder) {
	family := Label{"family", []string{familyBoth, familyV4, familyV6}}
	m.Rules = b.gauges("rules", "rules", "Rules installed in the kernel, by address family.", family)
	m.Chains = b.gauges("chains", "chains", "Chains installed in the kernel, by address family.", family)
	m.Sets = b.gauges("sets", "sets", "Sets and maps installed in the kernel, by address family.", family)
	m.Elements = b.gauges("elements", "elements", "Set and map elements installed in the kernel, by address family.", family)
}

// work defines the metrics about what the agent has done and how long it took.
func (m *Metrics) work(b *builder, waiting func() int) {
	b.gaugeFunc("queued_events", "updates", "Updates that wait for the engine.", func() float64 { return float64(waiting()) })
	m.EventToKernel = b.histogram("event_to_kernel_seconds", "Time from the moment an informer delivered an update that "+
		"changes rules to the committed transaction. The initial lists do not count.", fastBuckets)
	m.Compile = b.histogram("compile_duration_seconds", "Time to compile all updates that were waiting in the queue.", compileBuckets)
	m.Apply = b.histogram("apply_duration_seconds", "Time of one write or full comparison, including the kernel's part.", fastBuckets)
	m.Applied = b.counters("apply_total", "attempts", "Writes and full comparisons, by result. After an error the kernel keeps the "+
		"former rules, and the agent tries again.", Label{"result", []string{resultOK, resultError}})
	m.Resyncs = b.counters("resync_total", "comparisons", "Full comparisons of kernel and program, by whether they found and "+
		"repaired rules that somebody else had changed.", Label{"result", []string{resyncClean, resyncRepaired}})
	m.ObjectPanics = b.counter("object_panics_total", "objects", "Objects on which the compiler failed; each one is a bug in the agent.")

	m.LockWait = b.histogram("xtables_lock_wait_seconds", "Time that writes of the iptables-legacy backend waited for the lock "+
		"that all iptables-legacy programs of the node share. Other backends need no lock.", fastBuckets)
	m.LockTimeouts = b.counter("xtables_lock_timeouts_total", "writes", "Writes of the iptables-legacy backend that did not get the lock "+
		"in time; each is repeated.")

	m.CutFlows = b.counter("cut_flows_total", "connections", "Live connections that were cut because a change forbids them.")
	m.CutDuration = b.histogram("cut_duration_seconds", "Time to find and cut the connections that one change forbids.", fastBuckets)
	m.CutErrors = b.counter("cut_errors_total", "passes", "Passes over the live connections that failed; each is repeated.")
}

// engineNames returns the label values of the other policy engines.
func engineNames() (out []string) {
	for _, e := range neighbour.Engines() {
		out = append(out, string(e))
	}
	return out
}

// Definitions returns the definition of each of the agent's own metrics, in the order of the documentation.
func (m *Metrics) Definitions() []Metric { return slices.Clone(m.defs) }

// Handler answers /metrics.
func (m *Metrics) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.Registry, promhttp.HandlerOpts{Registry: m.Registry}))
	return mux
}

// Committed records a successful transaction that began at start, and when the updates that it carried arrived.
func (m *Metrics) Committed(start time.Time, arrived []time.Time) {
	now := time.Now()
	m.Applied.WithLabelValues(resultOK).Inc()
	m.Apply.Observe(now.Sub(start).Seconds())
	m.LastSync.Set(float64(now.UnixNano()) / 1e9)
	for _, at := range arrived {
		m.EventToKernel.Observe(now.Sub(at).Seconds())
	}
}

// Failed records a failed transaction that began at start.
func (m *Metrics) Failed(start time.Time) {
	m.Applied.WithLabelValues(resultError).Inc()
	m.Apply.Observe(time.Since(start).Seconds())
}

// Compared records a full comparison, and whether it repaired what somebody else had changed.
func (m *Metrics) Compared(repaired bool) {
	m.Resyncs.WithLabelValues(map[bool]string{false: resyncClean, true: resyncRepaired}[repaired]).Inc()
}

// LockWaited records how long a write waited for the xtables lock, and whether it gave up.
func (m *Metrics) LockWaited(took time.Duration, failed bool) {
	m.LockWait.Observe(took.Seconds())
	if failed {
		m.LockTimeouts.Inc()
	}
}

// CutterPassed records a pass of the cutter over the live connections.
func (m *Metrics) CutterPassed(_, cut int, took time.Duration, err error) {
	m.CutFlows.Add(float64(cut))
	m.CutDuration.Observe(took.Seconds())
	if err != nil {
		m.CutErrors.Inc()
	}
}

// Reachable records whether the API server answers.
func (m *Metrics) Reachable(yes bool) { m.APIReachable.Set(boolValue(yes)) }

// Bridge records why bridged packets do not reach the rules, or with nil that they do.
func (m *Metrics) Bridge(err error) { m.BridgeOK.Set(boolValue(err == nil)) }

// Neighbour records whether another policy engine was found on the node.
func (m *Metrics) Neighbour(e neighbour.Engine, found bool) {
	m.OtherEngine.WithLabelValues(string(e)).Set(boolValue(found))
}

// Show updates the gauges of what the agent knows and what is installed.
func (m *Metrics) Show(s State) {
	states := map[string]int{stateEnforced: 0, statePartly: 0, stateIdle: 0}
	for _, p := range policyStatuses(s) {
		states[p.State]++
	}
	setAll(m.Policies, states)
	setAll(m.LocalPods, isolationCounts(s.Program))
	setAll(m.Objects, s.Objects)
	for family, c := range s.Installed {
		m.Rules.WithLabelValues(family).Set(float64(c.Rules))
		m.Chains.WithLabelValues(family).Set(float64(c.Chains))
		m.Sets.WithLabelValues(family).Set(float64(c.Sets))
		m.Elements.WithLabelValues(family).Set(float64(c.Elements))
	}
}

func setAll(g *prometheus.GaugeVec, values map[string]int) {
	for label, n := range values {
		g.WithLabelValues(label).Set(float64(n))
	}
}

func boolValue(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
