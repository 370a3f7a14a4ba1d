package sync

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

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
	ResyncPeriod  prometheus.Gauge

	BridgeOK     prometheus.Gauge
	OtherEngine  *prometheus.GaugeVec
	APIReachable prometheus.Gauge

	Leftovers    prometheus.Gauge
	LockWait     prometheus.Histogram
	LockTimeouts prometheus.Counter

	CutFlows    prometheus.Counter
	CutDuration prometheus.Histogram
	CutErrors   prometheus.Counter

	defs   []Metric
	health atomic.Pointer[Health]
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
	familyV4, familyV6, familyBoth = "ipv4", "ipv6", "inet"
	objPods, objNamespaces, objPol = "pods", "namespaces", "networkpolicies"
)

// NewMetrics gives the agent's metrics; version goes to build_info, waiting is the queue's length.
func NewMetrics(version string, waiting func() int) *Metrics {
	r := prometheus.NewRegistry()
	b := &builder{r: r}
	m := &Metrics{Registry: r}
	m.state(b)
	m.inKernel(b)
	m.work(b, waiting)
	b.build(version)
	b.program()
	m.defs = b.defs
	return m
}

// state defines what tells whether the agent does its duty, and over what.
func (m *Metrics) state(b *builder) {
	b.gaugeFunc("ready", "boolean", "1 if the agent is ready, as its answer to /readyz says; else 0. The reasons stand there and "+
		"in the output of \"netpol-agent status\".", m.readyNow)
	m.LastSync = b.gauge("last_successful_sync_timestamp_seconds", "seconds",
		"When the kernel was last known to equal the rule program, as Unix time; 0 before the first time.")
	m.ResyncPeriod = b.gauge("resync_period_seconds", "seconds", "Time between two full comparisons of kernel and program, as configured.")
	m.APIReachable = b.gauge("api_server_reachable", "boolean", "1 if the last requests to the API server succeeded; else 0.")
	m.BridgeOK = b.gauge("bridge_netfilter_ok", "boolean",
		"1 if bridged packets between pods of this node reach the rules, or no pod hangs on a bridge; else 0.")
	m.OtherEngine = b.gauges("other_policy_engine", "boolean", "1 if another policy engine has rules or interfaces on this node, "+
		"so that a packet must pass both; else 0.", Label{"engine", engineNames()})
	m.Leftovers = b.gauge("backend_leftovers", "kinds", "Kinds of rules and sets that a backend no longer in use has left and that could "+
		"not be removed yet; \"netpol-agent status\" says why. Such rules judge packets by what they knew last.")
	m.Policies = b.gauges("policies", "policies", "NetworkPolicies of the cluster by what this node does with them: enforced on a "+
		"pod here, partly_understood (what is not understood matches nothing), or not_selecting any pod here.",
		Label{"state", []string{stateEnforced, statePartly, stateIdle}})
	m.Diagnostics = b.gauge("diagnostics", "fields", "Fields of policies that are not understood and therefore match nothing.")
	m.LocalPods = b.gauges("local_pods", "pods", "Pods of this node with an address that policies can judge, by the directions "+
		"in which they are isolated.", Label{"isolation", []string{isolationNone, isolationIn, isolationOut, isolationBoth}})
	m.Objects = b.gauges("objects", "objects", "Objects of the cluster that the agent knows, by resource.",
		Label{"resource", []string{objPods, objNamespaces, objPol}})
}

// inKernel defines what tells how much is installed.
func (m *Metrics) inKernel(b *builder) {
	family := Label{"family", []string{familyBoth, familyV4, familyV6}}
	m.Rules = b.gauges("rules", "rules", "Rules installed in the kernel, by address family.", family)
	m.Chains = b.gauges("chains", "chains", "Chains installed in the kernel, by address family.", family)
	m.Sets = b.gauges("sets", "sets", "Sets and maps installed in the kernel, by address family.", family)
	m.Elements = b.gauges("elements", "elements", "Set and map elements installed in the kernel, by address family.", family)
}

// work defines what tells what the agent has done and how long that took.
func (m *Metrics) work(b *builder, waiting func() int) {
	b.gaugeFunc("queued_events", "events", "Events that wait for the engine.", func() float64 { return float64(waiting()) })
	m.EventToKernel = b.histogram("event_to_kernel_seconds", "Time from the moment an informer delivered an event that "+
		"changes rules to the committed transaction. Events of the initial list do not count.", fastBuckets)
	m.Compile = b.histogram("compile_duration_seconds", "Time to compile what was taken from the queue in one turn.", compileBuckets)
	m.Apply = b.histogram("apply_duration_seconds", "Time of one write or full comparison, the kernel's part included.", fastBuckets)
	m.Applied = b.counters("apply_total", "attempts", "Writes and full comparisons, by result. After an error the kernel keeps the "+
		"former rules, and the agent tries again.", Label{"result", []string{resultOK, resultError}})
	m.Resyncs = b.counters("resync_total", "comparisons", "Full comparisons of kernel and program, by whether somebody else had "+
		"changed the kernel's rules and they were repaired.", Label{"result", []string{resyncClean, resyncRepaired}})
	m.ObjectPanics = b.counter("object_panics_total", "objects", "Objects over which the compiler failed; any is a defect of the agent.")

	m.LockWait = b.histogram("xtables_lock_wait_seconds", "Time that writes of the iptables-legacy backend waited for the lock "+
		"that all such programs of the node share. Other backends need none.", fastBuckets)
	m.LockTimeouts = b.counter("xtables_lock_timeouts_total", "writes", "Writes of the iptables-legacy backend that did not get the lock "+
		"in time; each is repeated.")

	m.CutFlows = b.counter("cut_flows_total", "connections", "Live connections that were cut because a change of policies forbids them.")
	m.CutDuration = b.histogram("cut_duration_seconds", "Time to find and cut the connections that one change forbids.", fastBuckets)
	m.CutErrors = b.counter("cut_errors_total", "passes", "Passes over the live connections that failed; each is repeated.")
}

// Definitions gives the definition of each of the agent's own metrics, in the order of the documentation.
func (m *Metrics) Definitions() []Metric { return slices.Clone(m.defs) }

// ReadyAs makes the gauge of readiness say what h says at the moment of the scrape; before, it is 0.
func (m *Metrics) ReadyAs(h *Health) { m.health.Store(h) }

func (m *Metrics) readyNow() float64 {
	h := m.health.Load()
	return boolValue(h != nil && len(h.NotReady()) == 0)
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

// lockWaited notes how long a write waited for the xtables lock.
func (m *Metrics) lockWaited(took time.Duration, failed bool) {
	m.LockWait.Observe(took.Seconds())
	if failed {
		m.LockTimeouts.Inc()
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
