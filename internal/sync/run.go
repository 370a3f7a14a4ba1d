package sync

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	crlog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/netpol-agent/netpol-agent/internal/render"
	"github.com/netpol-agent/netpol-agent/internal/sync/engine"
	"github.com/netpol-agent/netpol-agent/internal/sync/node"
	"github.com/netpol-agent/netpol-agent/internal/sync/report"
)

// Config says how the agent runs.
type Config struct {
	// Version of the program, for metrics and status.
	Version string
	// Node is the name of the node on which the agent runs.
	Node string
	// REST says how to reach the API server.
	REST *rest.Config
	// OpenBackend chooses and opens the renderer, which writes nothing. Its error says in one line what is missing.
	OpenBackend func(render.Observer) (*render.Opened, error)
	// HealthAddr serves /healthz and /readyz, MetricsAddr /metrics; "" or "0" means not at all.
	HealthAddr, MetricsAddr string
	// StatusSocket answers "netpol-agent status"; "" means report.DefaultStatusSocket.
	StatusSocket string
	// Resync is the time between two full comparisons of kernel and program, and between two looks at the node; 0 means
	// 60 s.
	Resync time.Duration
	Log    *slog.Logger

	// silentFor replaces, in tests, how long the API server may be unreachable; 0 means the default.
	silentFor time.Duration
	// bridgeCheck replaces, in tests, the check of the machine's bridges.
	bridgeCheck *node.BridgeCheck
}

// Run enforces the cluster's policies on this node until ctx ends, and leaves the rules in force. It returns an error of
// one line if it cannot start; the kernel is untouched until every start check has passed. An API server that does not
// answer is not such an error: Run waits for it and is not ready meanwhile.
func Run(ctx context.Context, cfg Config) error {
	if err := cfg.check(); err != nil {
		return err
	}
	cfg.Resync = cmp.Or(cfg.Resync, time.Minute)
	a := &agent{cfg: cfg, log: cfg.Log, started: time.Now(), queue: engine.NewQueue(), enforcing: make(chan struct{})}
	a.health = report.NewHealth(cfg.silentFor)
	a.metrics = report.NewMetrics(cfg.Version, a.queue.Len, a.health)
	defer a.close()
	if err := a.open(ctx); err != nil {
		return err
	}
	a.assemble()
	return a.run(ctx)
}

// LogClients makes the process-wide loggers of client-go and controller-runtime write to log. They accept that only
// while nobody uses them, so the program must call it once, before Run.
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
