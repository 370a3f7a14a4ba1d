// Package control measures the way from an object of the API to the rules in the kernel. It drives the agent's own
// engine, with its queue, compiler and any of its renderers, on the kernel of a network namespace that it makes; only
// the informers are missing, in whose place it hands the engine the objects that they would.
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
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/netpol-agent/netpol-agent/internal/compiler"
	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/sync"
	"github.com/netpol-agent/netpol-agent/test/bench/cluster"
	"github.com/netpol-agent/netpol-agent/test/bench/rules"
	"github.com/netpol-agent/netpol-agent/test/bench/space"
)

// patience is how long a single step may take before the measurement is given up.
const patience = 30 * time.Second

// commit is one successful transaction of the engine.
type commit struct {
	at  time.Time
	all bool
}

// agent is a running engine.
type agent struct {
	engine  *sync.Engine
	queue   *sync.Queue
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
		queue:   sync.NewQueue(),
		rules:   r,
		commits: make(chan commit, 1),
		failed:  make(chan error, 1),
		ended:   make(chan struct{}),
	}
	health := sync.NewHealth(0, 0, 0)
	health.Starting("")
	a.engine = sync.NewEngine(sync.EngineConfig{
		NewCompiler: func() sync.Compiler { return compiler.New(compiler.Options{Node: cluster.Node}) },
		Backend:     r,
		Queue:       a.queue,
		Health:      health,
		Metrics:     sync.NewMetrics("bench", a.queue.Len),
		Log:         slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
		Hooks: sync.Hooks{
			Committed: func(_ *program.Program, c sync.Change) { a.commits <- commit{time.Now(), c.All} },
			Failed: func(err error, _ int) {
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

// load hands over every object of the cluster, as the informers' initial lists do.
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

// put hands over an object's new state, as an informer's handler does.
func (a *agent) put(o client.Object) {
	a.queue.Put(sync.Event{Key: keyOf(o), Object: o, At: time.Now()})
}

// remove hands over that an object is gone.
func (a *agent) remove(o client.Object) { a.queue.Put(sync.Event{Key: keyOf(o), At: time.Now()}) }

func keyOf(o client.Object) sync.Key {
	key := sync.Key{NamespacedName: types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}}
	switch o.(type) {
	case *corev1.Pod:
		key.Kind = sync.Pod
	case *corev1.Namespace:
		key.Kind = sync.Namespace
	case *networkingv1.NetworkPolicy:
		key.Kind = sync.Policy
	}
	return key
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
		return commit{}, errors.New("an event led to no transaction")
	}
}

// time gives the time from the moment that an event is handed over to the committed transaction that follows.
func (a *agent) time(event func()) (time.Duration, error) {
	writes := a.rules.Writes
	start := time.Now()
	event()
	c, err := a.committed()
	if err != nil {
		return 0, err
	}
	if a.rules.Writes == writes {
		return 0, errors.New("an event that should have changed rules changed none")
	}
	return c.at.Sub(start), nil
}
