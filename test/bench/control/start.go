package control

import (
	"errors"
	"time"

	"github.com/netpol-agent/netpol-agent/test/bench/cluster"
	"github.com/netpol-agent/netpol-agent/test/bench/space"
)

// Start is how one start of the agent went.
type Start struct {
	// Took is the time from the first object handed over to the committed rules.
	Took time.Duration
	// Longest is that of the longest single transaction, during which the namespace's netfilter lock is held.
	Longest time.Duration
	// Transactions is their number.
	Transactions int
}

// Starts starts an agent in an empty namespace, and then another one that finds the first one's rules.
func Starts(c *cluster.Cluster) (cold, warm Start, err error) {
	s, err := space.New()
	if err != nil {
		return cold, warm, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if cold, err = start(s, c); err != nil {
		return cold, warm, err
	}
	warm, err = start(s, c)
	if err == nil && warm.Transactions > 0 {
		err = errors.New("the second start wrote rules although the first one's are the same")
	}
	return cold, warm, err
}

func start(s *space.Space, c *cluster.Cluster) (Start, error) {
	a, err := newAgent(s)
	if err != nil {
		return Start{}, err
	}
	begin := time.Now()
	a.load(c)
	a.engine.MarkSynced()
	done, err := a.committed()
	err = errors.Join(err, a.stop())
	return Start{Took: done.at.Sub(begin), Longest: a.meter.longest, Transactions: a.meter.commits}, err
}
