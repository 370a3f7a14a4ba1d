package conntrack

import (
	"context"
	"iter"
	"log/slog"
	"maps"
	"net/netip"
	"sync"
	"time"

	"github.com/netpol-agent/netpol-agent/internal/wait"
)

// Entries is what a Cutter needs of a Table.
type Entries interface {
	Dump(ctx context.Context, addrs map[netip.Addr]struct{}, yield func(Flow)) error
	Delete(f *Flow) (bool, error)
	Hold(flows []Flow) error
	Release() (time.Duration, error)
}

// Judge returns those of the flows that are forbidden now.
type Judge func(ctx context.Context, flows []Flow) (forbidden []Flow, err error)

// Observer is told about the cutter's work. Nil functions are not called.
type Observer struct {
	// Passed is called after each pass, with how many connections were looked at and how many were cut, the time it took,
	// and the error if it was incomplete and will be repeated.
	Passed func(looked, cut int, took time.Duration, err error)
}

const (
	// batch is how many flows are judged at once; the judge is busy for about a millisecond.
	batch = 500
	// restFactor bounds the cost of changes in quick succession: after a pass that took d, the next one starts at least
	// restFactor times d later.
	restFactor = 4

	retryFirst = 100 * time.Millisecond
	retryMost  = 30 * time.Second
)

// Cutter looks at the live connections of addresses for which something may have become forbidden, and deletes the
// forbidden ones. There is at most one pass at a time. Requests that arrive during a pass are handled together in the next
// one.
type Cutter struct {
	entries Entries
	judge   Judge
	observe Observer
	log     *slog.Logger

	mu    sync.Mutex
	addrs map[netip.Addr]struct{}
	wake  chan struct{}
}

// NewCutter returns a cutter. Call Run to start it.
func NewCutter(entries Entries, judge Judge, observe Observer, log *slog.Logger) *Cutter {
	return &Cutter{entries: entries, judge: judge, observe: observe, log: log,
		addrs: map[netip.Addr]struct{}{}, wake: make(chan struct{}, 1)}
}

// Look requests a pass over the connections that have one of the addresses at one of their ends. It never blocks. An
// address that already waits is not added again. Safe for concurrent use.
func (c *Cutter) Look(addrs iter.Seq[netip.Addr]) {
	c.mu.Lock()
	for a := range addrs {
		c.addrs[a] = struct{}{}
	}
	n := len(c.addrs)
	c.mu.Unlock()
	if n == 0 {
		return
	}
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *Cutter) take() map[netip.Addr]struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.addrs
	c.addrs = map[netip.Addr]struct{}{}
	return out
}

// Run makes the passes until ctx ends.
func (c *Cutter) Run(ctx context.Context) {
	backoff := retryFirst
	var releaseAt <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-releaseAt:
			releaseAt = c.release()
			continue
		case <-c.wake:
		}
		addrs := c.take()
		if len(addrs) == 0 {
			continue
		}
		start := time.Now()
		err := c.pass(ctx, addrs, start)
		rest := restFactor * time.Since(start)
		if err != nil && ctx.Err() == nil {
			c.failed(err, addrs)
			rest, backoff = max(rest, backoff), min(2*backoff, retryMost)
		} else {
			backoff = retryFirst
		}
		releaseAt = c.release()
		if !wait.Sleep(ctx, rest) {
			return
		}
	}
}

// release releases what is held, if its time is over. It returns when to call it again, or nil if nothing is held.
func (c *Cutter) release() <-chan time.Time {
	left, err := c.entries.Release()
	if err != nil {
		c.log.Warn("could not release the replies of cut connections, trying again", "error", err)
		left = retryMost
	}
	if left == 0 {
		return nil
	}
	return time.After(left)
}

// failed puts the addresses back, so that the next pass covers them.
func (c *Cutter) failed(err error, addrs map[netip.Addr]struct{}) {
	c.log.Warn("could not look at all live connections, trying again", "addresses", len(addrs), "error", err)
	c.Look(maps.Keys(addrs))
}

// pass looks at all connections of the addresses. It continues after an error, so that one entry that cannot be deleted
// does not protect the others. It returns the first error.
func (c *Cutter) pass(ctx context.Context, addrs map[netip.Addr]struct{}, start time.Time) error {
	var flows []Flow
	first := c.entries.Dump(ctx, addrs, func(f Flow) { flows = append(flows, f) })
	note := func(err error) {
		if first == nil {
			first = err
		}
	}
	cut := 0
	for from := 0; from < len(flows); from += batch {
		forbidden, err := c.judge(ctx, flows[from:min(from+batch, len(flows))])
		note(err)
		note(c.entries.Hold(forbidden))
		for i := range forbidden {
			deleted, err := c.entries.Delete(&forbidden[i])
			note(err)
			if deleted {
				cut++
				c.log.Debug("cut a connection that is forbidden now", "connection", forbidden[i].String())
			}
		}
	}
	took := time.Since(start)
	if cut > 0 {
		c.log.Info("cut connections that are forbidden now", "cut", cut, "looked_at", len(flows), "took", took)
	}
	if c.observe.Passed != nil {
		c.observe.Passed(len(flows), cut, took, first)
	}
	return first
}
