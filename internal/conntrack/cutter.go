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

// Judge gives, of some flows, those that are forbidden now.
type Judge func(ctx context.Context, flows []Flow) (forbidden []Flow, err error)

// Observer hears of the cutter's work; a nil function is left out.
type Observer struct {
	// Passed comes after each pass: how many connections were looked at and cut, the time it took, and why it
	// was not complete and is repeated; nil if it was.
	Passed func(looked, cut int, took time.Duration, err error)
}

const (
	// batch is how many flows are judged at once; the judge is busy for about a millisecond.
	batch = 500
	// restFactor bounds the cost of changes in quick succession: after a pass that took d, the next one begins
	// restFactor times d later at the earliest.
	restFactor = 4

	retryFirst = 100 * time.Millisecond
	retryMost  = 30 * time.Second
)

// Cutter looks at the live connections of addresses for which something may have become forbidden, and
// deletes those that are. There is at most one pass at a time; what comes meanwhile is taken together in the
// next one.
type Cutter struct {
	entries Entries
	judge   Judge
	observe Observer
	log     *slog.Logger

	mu    sync.Mutex
	addrs map[netip.Addr]struct{}
	wake  chan struct{}
}

// NewCutter gives a cutter that does nothing until Run.
func NewCutter(entries Entries, judge Judge, observe Observer, log *slog.Logger) *Cutter {
	return &Cutter{entries: entries, judge: judge, observe: observe, log: log,
		addrs: map[netip.Addr]struct{}{}, wake: make(chan struct{}, 1)}
}

// Look asks for a pass over the connections that have one of the addresses at one of their ends. It never
// blocks. Addresses that wait already are not doubled.
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

// Run works until ctx ends.
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

// release ends what is held, if its time is over, and says when to ask again; nil if nothing is held.
func (c *Cutter) release() <-chan time.Time {
	left, err := c.entries.Release()
	if err != nil {
		c.log.Warn("could not release the replies of connections that were cut, trying again", "error", err)
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

// pass looks at all connections of the addresses. It goes on after an error, so that one entry that cannot be
// deleted does not protect the others, and gives the first.
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
