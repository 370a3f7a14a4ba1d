package sync

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	crlog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/netpol-agent/netpol-agent/internal/compiler"
	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/conntrack"
	"github.com/netpol-agent/netpol-agent/internal/neighbour"
	"github.com/netpol-agent/netpol-agent/internal/render"
)

// Config says how the agent runs.
type Config struct {
	// Version of the program, for metrics and status.
	Version string
	// Node is the name of the node the agent runs on.
	Node string
	// REST says how to reach the API server.
	REST *rest.Config
	// OpenBackend chooses and opens the renderer. Errors say in one line what is missing; nothing is written by
	// opening.
	OpenBackend func(render.Observer) (*render.Opened, error)
	// HealthAddr serves /healthz and /readyz, MetricsAddr /metrics; "" or "0" means not at all.
	HealthAddr, MetricsAddr string
	// StatusSocket answers `status`; "" means DefaultStatusSocket.
	StatusSocket string
	// Resync is the time between two full comparisons of kernel and program; 0 means 60 s.
	Resync time.Duration
	Log    *slog.Logger

	// silentFor replaces, in tests, how long the API server may be out of reach; 0 means the default.
	silentFor time.Duration
	// bridgeCheck replaces, in tests, the look at the machine's bridges.
	bridgeCheck *bridgeCheck
}

// Run enforces the cluster's policies on this node until ctx ends, and then leaves the rules in force. It
// gives an error, of one line, if it cannot begin; until every start check has passed the kernel is untouched.
// An API server that does not answer is no such error: Run waits for it and says in its readiness that it does.
func Run(ctx context.Context, cfg Config) error {
	if err := cfg.check(); err != nil {
		return err
	}
	a := &agent{cfg: cfg, log: cfg.Log, started: time.Now(), queue: NewQueue()}
	a.health = NewHealth(0, 0, cfg.silentFor)
	a.metrics = NewMetrics(cfg.Version, a.queue.Len)
	a.metrics.ReadyAs(a.health)
	defer a.close()
	if err := a.open(ctx); err != nil {
		return err
	}
	a.assemble()
	return a.run(ctx)
}

// LogClients makes the process-wide loggers of client-go and controller-runtime write to log. They allow it
// only while nobody uses them, so it is for the program to call, once, before Run.
func LogClients(log *slog.Logger) {
	logger := logr.FromSlogHandler(log.Handler())
	klog.SetLoggerWithOptions(logger, klog.ContextualLogger(true))
	crlog.SetLogger(logger)
}

func (c *Config) check() error {
	switch {
	case c.Node == "":
		return errors.New("node name unknown: pass --node-name, or set NODE_NAME by the downward API (spec.nodeName)")
	case c.REST == nil:
		return errors.New("no way to reach the API server: pass --kubeconfig, or run in a pod with a service account")
	}
	return nil
}

// agent is everything that one Run holds together.
type agent struct {
	cfg     Config
	log     *slog.Logger
	started time.Time

	queue   *Queue
	health  *Health
	metrics *Metrics

	healthPort, metricsPort net.Listener
	statusPort              *net.UnixListener
	backend                 *render.Opened
	leftovers               *leftovers
	table                   *conntrack.Table
	client                  kubernetes.Interface
	rest                    *rest.Config

	contacts contacts
	events   *events
	engine   *Engine
	cutter   *conntrack.Cutter
	bridge   *bridgeMonitor

	neighbours *neighbourMonitor
}

// open takes what the machine must give: ports, the right to change its rules, a way to the API server. It
// changes nothing.
func (a *agent) open(ctx context.Context) (err error) {
	if a.healthPort, err = listen(ctx, "health", a.cfg.HealthAddr, "--health-bind-address"); err != nil {
		return err
	}
	if a.metricsPort, err = listen(ctx, "metrics", a.cfg.MetricsAddr, "--metrics-bind-address"); err != nil {
		return err
	}
	if a.statusPort, err = listenStatus(orDefault(a.cfg.StatusSocket, DefaultStatusSocket)); err != nil {
		return err
	}
	if a.backend, err = a.cfg.OpenBackend(render.Observer{LockWaited: a.metrics.lockWaited}); err != nil {
		return err
	}
	if a.table, err = conntrack.Open(); err != nil {
		return err
	}
	if err := a.table.CanHold(); err != nil {
		a.log.Warn("replies of cut UDP connections cannot be held back: one that is under way at the moment of the cut may "+
			"open the connection again in the other direction, if the policies allow that direction", "reason", err)
	}
	a.contacts = contacts{health: a.health, metrics: a.metrics, log: a.log}
	a.rest = rest.CopyConfig(a.cfg.REST)
	a.rest.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return contactRecorder{next: next, report: a.contacts.report}
	})
	if a.client, err = kubernetes.NewForConfig(a.rest); err != nil {
		return fmt.Errorf("API server: %w", err)
	}
	return nil
}

func (a *agent) close() {
	for _, l := range []net.Listener{a.healthPort, a.metricsPort} {
		if l != nil {
			_ = l.Close()
		}
	}
	if a.statusPort != nil {
		_ = a.statusPort.Close()
	}
	if a.table != nil {
		_ = a.table.Close()
	}
	if a.backend != nil && a.backend.Close != nil {
		_ = a.backend.Close()
	}
}

// assemble connects the parts.
func (a *agent) assemble() {
	a.events = newEvents(a.cfg.Node, a.createEvent, a.log)
	a.bridge = &bridgeMonitor{
		check: cmp.Or(a.cfg.bridgeCheck, newBridgeCheck(a.log)), every: orDefault(a.cfg.Resync, time.Minute),
		addrs: newMailbox[[]netip.Addr](), result: a.bridgeResult(), looked: make(chan struct{}),
		found: func(names []string) {
			a.queue.Put(Event{Key: Key{Kind: Bridges}, Object: names, At: time.Now()})
		},
	}
	a.metrics.BridgeOK.Set(1)
	a.neighbours = &neighbourMonitor{
		look: neighbour.NewKernel().Read, every: orDefault(a.cfg.Resync, time.Minute), log: a.log,
		present: func(e neighbour.Engine, v float64) { a.metrics.OtherEngine.WithLabelValues(string(e)).Set(v) },
		event:   func(message string) { a.events.onNode(reasonOtherEngine, message) },
	}
	a.metrics.ResyncPeriod.Set(orDefault(a.cfg.Resync, time.Minute).Seconds())
	a.leftovers = newLeftovers(a.metrics, a.log)
	a.engine = NewEngine(EngineConfig{
		NewCompiler: func() Compiler { return compiler.New(compiler.Options{Node: a.cfg.Node}) },
		Backend:     a.backend.Backend, Queue: a.queue, Health: a.health, Metrics: a.metrics, Log: a.log, Resync: a.cfg.Resync,
		Hooks: Hooks{
			Committed: a.committed,
			Failed: func(err error, _ int) {
				a.events.onNode(reasonApplyFailed, fmt.Sprintf("changed policies are not enforced yet, the former ones are: %v", err))
			},
			Diagnosed: a.events.diagnosed,
			Left:      func(err error) { a.leftovers.note(leftSets, err) },
		},
	})
	a.cutter = conntrack.NewCutter(a.table, a.engine.Forbidden, conntrack.Observer{
		Passed: func(_, cut int, took time.Duration, err error) {
			a.metrics.CutFlows.Add(float64(cut))
			a.metrics.CutDuration.Observe(took.Seconds())
			if err != nil {
				a.metrics.CutErrors.Inc()
			}
		},
	}, a.log)
}

// committed runs in the engine's goroutine.
func (a *agent) committed(p *program.Program, c Change) {
	a.leftovers.enforced()
	a.cutter.Look(tightened(p, c))
	if c.All || len(c.Delta.Locals) > 0 {
		a.bridge.addrs.put(slices.Collect(maps.Keys(p.Locals)))
	}
}

// bridgeResult gives the function that takes the bridge check's results and tells of changes.
func (a *agent) bridgeResult() func(error) {
	was := ""
	return func(err error) {
		a.health.Bridge(err)
		a.metrics.BridgeOK.Set(boolValue(err == nil))
		now := ""
		if err != nil {
			now = err.Error()
			a.events.onNode(reasonBridge, now)
		}
		switch {
		case now == was:
		case err != nil:
			a.log.Error("bridged packets do not reach the rules", "error", err)
		default:
			a.log.Info("bridged packets reach the rules")
		}
		was = now
	}
}

func (a *agent) createEvent(ctx context.Context, ev *corev1.Event) error {
	_, err := a.client.CoreV1().Events(ev.Namespace).Create(ctx, ev, metav1.CreateOptions{})
	return err
}

func (a *agent) getNode(ctx context.Context) (*corev1.Node, error) {
	return a.client.CoreV1().Nodes().Get(ctx, a.cfg.Node, metav1.GetOptions{})
}

// ping asks the API server for what it has at hand, at the least cost for it.
func (a *agent) ping(ctx context.Context) error {
	_, err := a.client.CoreV1().Nodes().Get(ctx, a.cfg.Node, metav1.GetOptions{ResourceVersion: "0"})
	return err
}

// run starts everything and waits for its end. The servers go last, so that probes get true answers until the
// engine has ended.
func (a *agent) run(ctx context.Context) error {
	serversCtx, stopServers := context.WithCancel(context.WithoutCancel(ctx))
	defer stopServers()
	work, ctx := errgroup.WithContext(ctx)
	servers := &errgroup.Group{}
	serveOn := func(l net.Listener, h http.Handler) {
		if l != nil {
			servers.Go(func() error { return serve(serversCtx, l, h, a.log) })
		}
	}
	serveOn(a.healthPort, healthHandler(a.health))
	serveOn(a.metricsPort, metricsHandler(a.metrics.Registry))
	status := &statusServer{listener: a.statusPort, status: a.status, log: a.log}
	servers.Go(func() error { status.run(serversCtx); return nil })

	for _, loop := range []func(context.Context){a.engine.Run, a.cutter.Run, a.bridge.run, a.sweep} {
		work.Go(func() error { loop(ctx); return nil })
	}
	work.Go(func() error { return a.follow(ctx) })
	stop := context.AfterFunc(ctx, a.health.Draining)
	defer stop()

	err := work.Wait()
	stopServers()
	return errors.Join(ignoreEnd(err), servers.Wait())
}

// ignoreEnd takes the end that was asked for as no error.
func ignoreEnd(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// follow brings the cluster's objects to the engine, from the start checks that need the API server onwards.
func (a *agent) follow(ctx context.Context) error {
	a.log.Info("starting", "version", a.cfg.Version, "node", a.cfg.Node, "backend", a.backend.Name, "reason", a.backend.Reason, "api_server", a.rest.Host)
	node, err := awaitNode(ctx, a.cfg.Node, a.getNode, a.contacts, a.log)
	if err != nil {
		return err
	}
	a.events.uid = node.UID
	caches, err := newCache(a.rest, a.log)
	if err != nil {
		return err
	}
	synced, err := feed(ctx, caches, a.queue)
	if err != nil {
		return err
	}
	addrs := &addrWatcher{queue: a.queue, log: a.log, every: orDefault(a.cfg.Resync, time.Minute)}
	listed := make(chan struct{})
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { addrs.run(ctx, listed); return nil })
	g.Go(func() error { a.events.run(ctx); return nil })
	g.Go(func() error { a.neighbours.run(ctx); return nil })
	g.Go(func() error {
		probe(ctx, a.ping, a.contacts.report)
		return nil
	})
	g.Go(func() error { return caches.Start(ctx) })
	g.Go(func() error {
		if synced(ctx) {
			<-listed
			a.firstBridges(ctx)
			a.engine.MarkSynced()
		}
		return nil
	})
	return g.Wait()
}

// firstBridges waits until the queue has the bridges of this node's pods. The rules of a former run know them, and the
// first write of this one must not take that back until the next: connections that begin in between are not cut.
func (a *agent) firstBridges(ctx context.Context) {
	err := a.engine.Do(ctx, func() {
		a.engine.take()
		a.bridge.addrs.put(slices.Collect(maps.Keys(a.engine.model.compiler.Program().Locals)))
	})
	if err != nil {
		a.log.Warn("bridges are looked for only after the first write", "error", err)
		return
	}
	select {
	case <-a.bridge.looked:
	case <-ctx.Done():
	}
}

// status gives what the agent tells about itself.
func (a *agent) status(ctx context.Context) (*Status, error) {
	s := &Status{
		Version: a.cfg.Version, Node: a.cfg.Node, Backend: a.backend.Name, BackendReason: a.backend.Reason,
		Started: a.started, NotReady: a.health.NotReady(), LastSync: a.health.LastWrite(),
		Leftovers: a.leftovers.list(),
	}
	s.Ready = len(s.NotReady) == 0
	if err := a.engine.Do(ctx, func() { a.engine.snapshot(s) }); err != nil {
		return nil, err
	}
	return s, nil
}
