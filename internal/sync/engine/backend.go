package engine

import (
	"time"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/render"
)

// Backend brings a rule program into the kernel. The engine calls it from one goroutine.
type Backend interface {
	// Sync compares what the kernel has with the program and makes it equal, at start and now and then.
	Sync(p *program.Program) (render.Stats, error)
	// Apply writes what d names in one transaction. After an error the kernel is as it was, and the next
	// Apply or Sync makes up for it.
	Apply(p *program.Program, d *program.Delta) (render.Stats, error)
	// Drifted says, cheaply, whether anybody else changed the kernel's rules since our last commit. It may
	// say yes for changes that are not in our table.
	Drifted() (bool, error)
	// Counts says how many objects are installed, by family ("ipv4", "ipv6", "inet").
	Counts() map[string]render.Counts
	// Table says where in the kernel an operator finds the rules.
	Table() string
}

// Opened is a renderer that is ready to write, and what is to be known of the choice.
type Opened struct {
	Backend Backend
	// Name says which renderer it is, Reason why this one.
	Name, Reason string
	// PreciseDrift says that Drifted says yes for changes of our own rules alone; see EngineConfig.
	PreciseDrift bool
	// Sweep removes what renderers that are not in use have left on the node; it gives what that was. It is called
	// once Backend enforces, from a goroutine of its own, until it gives no error. Nil if there is nothing to sweep.
	Sweep func() (removed []string, err error)
	// Close ends what opening began; the rules stay. May be nil.
	Close func() error
}

// BackendObserver hears of a renderer's work.
type BackendObserver struct {
	// LockWaited comes after each wait for a lock that the node's programs share; failed says that it was not to be
	// had in time. It may be called from any goroutine.
	LockWaited func(took time.Duration, failed bool)
}
