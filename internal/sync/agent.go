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
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/netpol-agent/netpol-agent/internal/compiler"
	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/conntrack"
	"github.com/netpol-agent/netpol-agent/internal/neighbour"
	"github.com/netpol-agent/netpol-agent/internal/render"
	"github.com/netpol-agent/netpol-agent/internal/sync/engine"
	"github.com/netpol-agent/netpol-agent/internal/sync/node"
	"github.com/netpol-agent/netpol-agent/internal/sync/report"
	"github.com/netpol-agent/netpol-agent/internal/sync/source"
)

// agent is everything that one Run holds together.
type agent struct {
	cfg     Config
	log     *slog.Logger
	started time.Time

	queue   *engine.Queue
	health  *report.Health
	metrics *report.Metrics

	healthPort, metricsPort net.Listener
	statusPort              *net.UnixListener
	backend                 *render.Opened
	table                   *conntrack.Table
	client                  kubernetes.Interface
	rest                    *rest.Config

	events     *report.Events
	leftovers  *report.Leftovers
	engine     *engine.Engine
	cutter     *conntrack.Cutter
	bridges    *node.BridgeMonitor
	neighbours *node.Neighbours

	// enforcing is closed after the first commit: then the backend in use enforces everything, and nothing opens when
	// the rules of others go.
	enforcing     chan struct{}
	onceEnforcing sync.Once
}

// open takes what the machine must provide: ports, the right to change its rules, a way to the API server. It changes
// nothing.
func (a *agent) open(ctx context.Context) (err error) {
	if a.healthPort, err = listen(ctx, "health", a.cfg.HealthAddr, "--health-bind-address"); err != nil {
		return err
	}
	if a.metricsPort, err = listen(ctx, "metrics", a.cfg.MetricsAddr, "--metrics-bind-address"); err != nil {
		return err
	}
	if a.statusPort, err = report.ListenStatus(a.cfg.StatusSocket); err != nil {
		return err
	}
	if a.backend, err = a.cfg.OpenBackend(render.Observer{LockWaited: a.metrics.LockWaited}); err != nil {
		return err
	}
	if a.table, err = conntrack.Open(); err != nil {
		return err
	}
	if err := a.table.CanHold(); err != nil {
		a.log.Warn("replies of cut UDP connections cannot be held back: a connection that is active at the moment of the cut "+
			"may come back in the other direction, if the policies allow that direction", "reason", err)
	}
	a.rest = rest.CopyConfig(a.cfg.REST)
	a.rest.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return contactRecorder{next: next, report: a.contact}
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
	a.metrics.BridgeOK.Set(1)
	a.metrics.ResyncPeriod.Set(a.cfg.Resync.Seconds())
	a.leftovers = report.NewLeftovers(a.metrics, a.log)
	a.events = report.NewEvents(a.cfg.Node, a.createEvent, a.log)
	a.bridges = node.NewBridgeMonitor(cmp.Or(a.cfg.bridgeCheck, node.NewBridgeCheck(a.log)), a.cfg.Resync, a.bridgeResult(),
		func(names []string) { a.queue.Put(source.Bridges.Reported(names)) })
	a.neighbours = &node.Neighbours{
		Look: neighbour.NewKernel().Read, Every: a.cfg.Resync, Log: a.log, Present: a.metrics.Neighbour,
		Event: func(message string) { a.events.OnNode(report.ReasonOtherEngine, message) },
	}
	a.engine = engine.New(engine.Config{
		NewCompiler: func() engine.Compiler { return compiler.New(compiler.Options{Node: a.cfg.Node}) },
		Backend:     a.backend.Backend, Queue: a.queue,
		Health: a.health, Metrics: a.metrics, Log: a.log, Resync: a.cfg.Resync,
		Hooks: engine.Hooks{
			Committed: a.committed,
			Failed: func(err error) {
				a.events.OnNode(report.ReasonApplyFailed, fmt.Sprintf("changed policies are not enforced yet, the former ones are: %v", err))
			},
			Diagnosed: a.events.Diagnosed,
			Left:      func(err error) { a.leftovers.Note("sets that no rule of ours names", err) },
		},
	})
	a.cutter = conntrack.NewCutter(a.table, a.engine.Forbidden, conntrack.Observer{Passed: a.metrics.CutterPassed}, a.log)
}

// committed runs in the engine's goroutine.
func (a *agent) committed(p *program.Program, c engine.Change) {
	a.onceEnforcing.Do(func() { close(a.enforcing) })
	a.cutter.Look(c.Tightened(p))
	if c.All || len(c.Delta.Locals) > 0 {
		a.bridges.Look(slices.Collect(maps.Keys(p.Locals)))
	}
}

// bridgeResult returns a function that takes the results of the bridge check and tells what has changed.
func (a *agent) bridgeResult() func(error) {
	was := ""
	return func(err error) {
		a.health.Bridge(err)
		a.metrics.Bridge(err)
		now := ""
		if err != nil {
			now = err.Error()
			a.events.OnNode(report.ReasonBridge, now)
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

// getNode requests this node. Version "" means its latest state, "0" what the API server has in memory, which costs it
// the least.
func (a *agent) getNode(ctx context.Context, version string) (*corev1.Node, error) {
	return a.client.CoreV1().Nodes().Get(ctx, a.cfg.Node, metav1.GetOptions{ResourceVersion: version})
}

// run starts everything and waits for its end. The servers stop last, so that probes get true answers until the engine
// has stopped.
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
	serveOn(a.healthPort, a.health.Handler())
	serveOn(a.metricsPort, a.metrics.Handler())
	servers.Go(func() error { report.ServeStatus(serversCtx, a.statusPort, a.status, a.log); return nil })

	for _, loop := range []func(context.Context){a.engine.Run, a.cutter.Run, a.bridges.Run, a.sweep} {
		work.Go(func() error { loop(ctx); return nil })
	}
	work.Go(func() error { return a.follow(ctx) })
	stop := context.AfterFunc(ctx, a.health.Draining)
	defer stop()

	err := work.Wait()
	if errors.Is(err, context.Canceled) {
		err = nil // a requested shutdown is a success
	}
	stopServers()
	return errors.Join(err, servers.Wait())
}

// follow brings the cluster's objects to the engine, beginning with the start checks that need the API server.
func (a *agent) follow(ctx context.Context) error {
	a.log.Info("starting", "version", a.cfg.Version, "node", a.cfg.Node, "backend", a.backend.Name, "reason", a.backend.Reason, "api_server", a.rest.Host)
	self, err := a.awaitNode(ctx)
	if err != nil {
		return err
	}
	caches, err := source.NewCache(a.rest, a.log)
	if err != nil {
		return err
	}
	synced, err := source.Feed(ctx, caches, a.queue.Put)
	if err != nil {
		return err
	}
	addrs := &node.Addresses{Every: a.cfg.Resync, Log: a.log, Changed: func(addrs []netip.Addr) {
		a.queue.Put(source.NodeAddrs.Reported(addrs))
	}}
	ping := func(ctx context.Context) error { _, err := a.getNode(ctx, "0"); return err }
	listed := make(chan struct{})
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { addrs.Run(ctx, listed); return nil })
	g.Go(func() error { a.events.Run(ctx, self.UID); return nil })
	g.Go(func() error { a.neighbours.Run(ctx); return nil })
	g.Go(func() error { probe(ctx, ping, a.contact); return nil })
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
// first write of this run must not forget them until the next one: connections that begin in between are not cut.
func (a *agent) firstBridges(ctx context.Context) {
	locals, err := a.engine.Locals(ctx)
	if err != nil {
		a.log.Warn("bridges are looked for only after the first write", "error", err)
		return
	}
	a.bridges.Look(locals)
	select {
	case <-a.bridges.Looked:
	case <-ctx.Done():
	}
}

// status returns what the agent tells about itself.
func (a *agent) status(ctx context.Context) (*report.Status, error) {
	s := &report.Status{
		Version: a.cfg.Version, Node: a.cfg.Node, Backend: a.backend.Name, BackendReason: a.backend.Reason,
		Started: a.started, NotReady: a.health.NotReady(), LastSync: a.health.LastWrite(),
		Leftovers: a.leftovers.List(),
	}
	s.Ready = len(s.NotReady) == 0
	if err := a.engine.Fill(ctx, s); err != nil {
		return nil, err
	}
	return s, nil
}
