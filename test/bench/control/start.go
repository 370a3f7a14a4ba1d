package control

import (
	"errors"
	"time"

	"github.com/netpol-agent/netpol-agent/test/bench/cluster"
	"github.com/netpol-agent/netpol-agent/test/bench/space"
)

// Start describes one start of the agent.
type Start struct {
	// Took is the time from the first object queued to the committed rules.
	Took time.Duration
	// Longest is the time of the longest single transaction or program. With nftables the namespace's netfilter lock is
	// held as long.
	Longest time.Duration
	// Transactions is the number of transactions; with iptables, of the programs that wrote.
	Transactions int
}

// Starts starts an agent in an empty namespace, and then another one that finds the first one's rules.
func Starts(c *cluster.Cluster, backend string) (cold, warm Start, err error) {
	s, err := space.New()
	if err != nil {
		return cold, warm, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if cold, err = start(s, c, backend); err != nil {
		return cold, warm, err
	}
	warm, err = start(s, c, backend)
	if err == nil && warm.Transactions > 0 {
		err = errors.New("the second start wrote rules, although the first one had installed the same")
	}
	return cold, warm, err
}

func start(s *space.Space, c *cluster.Cluster, backend string) (Start, error) {
	a, err := newAgent(s, backend)
	if err != nil {
		return Start{}, err
	}
	begin := time.Now()
	a.load(c)
	a.engine.MarkSynced()
	done, err := a.committed()
	err = errors.Join(err, a.stop())
	return Start{Took: done.at.Sub(begin), Longest: a.rules.Longest, Transactions: a.rules.Writes}, err
}
