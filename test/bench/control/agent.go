// Package control measures the way from an object of the API to the rules in the kernel. It drives the agent's own
// engine, with its queue, compiler and any of its renderers, on the kernel of a network namespace that it creates. Only
// the informers are missing: the package passes the engine the objects that they would.
//
// It does not decide which figures are good enough.
package control

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/netpol-agent/netpol-agent/internal/compiler"
	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/sync/engine"
	"github.com/netpol-agent/netpol-agent/internal/sync/report"
	"github.com/netpol-agent/netpol-agent/internal/sync/source"
	"github.com/netpol-agent/netpol-agent/test/bench/cluster"
	"github.com/netpol-agent/netpol-agent/test/bench/rules"
	"github.com/netpol-agent/netpol-agent/test/bench/space"
)

// patience is how long a single step may take before the measurement fails.
const patience = 30 * time.Second

// commit is one successful transaction of the engine.
type commit struct {
	at  time.Time
	all bool
}

// agent is a running engine.
type agent struct {
	engine  *engine.Engine
	queue   *engine.Queue
	rules   *rules.Rules
	commits chan commit
	failed  chan error
	cancel  context.CancelFunc
	ended   chan struct{}
}

// newAgent starts an engine with a backend on the kernel of a namespace. It writes nothing before MarkSynced.
func newAgent(s *space.Space, backend string) (*agent, error) {
	r, err := rules.Open(s, backend)
	if err != nil {
		return nil, err
	}
	a := &agent{
		queue:   engine.NewQueue(),
		rules:   r,
		commits: make(chan commit, 1),
		failed:  make(chan error, 1),
		ended:   make(chan struct{}),
	}
	health := report.NewHealth(0)
	health.Starting("")
	a.engine = engine.New(engine.Config{
		NewCompiler: func() engine.Compiler { return compiler.New(compiler.Options{Node: cluster.Node}) },
		Backend:     r,
		Queue:       a.queue,
		Health:      health,
		Metrics:     report.NewMetrics("bench", a.queue.Len, health),
		Log:         slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
		Hooks: engine.Hooks{
			Committed: func(_ *program.Program, c engine.Change) { a.commits <- commit{time.Now(), c.All} },
			Failed: func(err error) {
				select {
				case a.failed <- err:
				default:
				}
			},
		},
	})
	ctx, cancel := context.WithCancel(context.Background())
	a.cancel = cancel
	go func() {
		defer close(a.ended)
		a.engine.Run(ctx)
	}()
	return a, nil
}

// stop ends the engine; the rules stay.
func (a *agent) stop() error {
	a.cancel()
	<-a.ended
	return a.rules.Close()
}

// load queues every object of the cluster, as the informers' initial lists do.
func (a *agent) load(c *cluster.Cluster) {
	for _, o := range c.Namespaces {
		a.put(o)
	}
	for _, o := range c.Pods {
		a.put(o)
	}
	for _, o := range c.Policies {
		a.put(o)
	}
}

// put queues an object's new state, as an informer's handler does.
func (a *agent) put(o client.Object) { a.queue.Put(kindOf(o).Update(o)) }

// remove queues the deletion of an object.
func (a *agent) remove(o client.Object) { a.queue.Put(kindOf(o).Gone(o.GetNamespace(), o.GetName())) }

func kindOf(o client.Object) *source.Kind {
	switch o.(type) {
	case *corev1.Pod:
		return source.Pod
	case *corev1.Namespace:
		return source.Namespace
	default:
		return source.Policy
	}
}

// committed waits for the next successful transaction.
func (a *agent) committed() (commit, error) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case c := <-a.commits:
		return c, nil
	case err := <-a.failed:
		return commit{}, err
	case <-timer.C:
		return commit{}, errors.New("an update led to no transaction")
	}
}

// time returns the time from the moment that an update is queued to the next committed transaction.
func (a *agent) time(update func()) (time.Duration, error) {
	writes := a.rules.Writes
	start := time.Now()
	update()
	c, err := a.committed()
	if err != nil {
		return 0, err
	}
	if a.rules.Writes == writes {
		return 0, errors.New("an update that should have changed rules changed none")
	}
	return c.at.Sub(start), nil
}
