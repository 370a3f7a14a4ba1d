// Package rules opens each backend's renderer on the kernel of a network namespace, and records what it writes.
//
// It does not decide what the rules are or which backend is measured.
package rules

import (
	"fmt"
	"strings"
	"time"

	"github.com/netpol-agent/netpol-agent/internal/render"
	"github.com/netpol-agent/netpol-agent/internal/render/backend"
	"github.com/netpol-agent/netpol-agent/internal/render/iptables"
	ipkernel "github.com/netpol-agent/netpol-agent/internal/render/iptables/kernel"
	"github.com/netpol-agent/netpol-agent/internal/render/nft"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/change"
	nftkernel "github.com/netpol-agent/netpol-agent/internal/render/nft/kernel"
	"github.com/netpol-agent/netpol-agent/test/bench/space"
	"github.com/netpol-agent/netpol-agent/test/testns/xtables"
)

// Names of the backends, as in the output of `status`.
const (
	NFTables = backend.NFTables
	Legacy   = "iptables-legacy"
	IPTNFT   = "iptables-nft"
)

// Backends lists all backends in the order in which tables show them.
func Backends() []string { return []string{NFTables, Legacy, IPTNFT} }

// Rules is a renderer on the kernel of a namespace.
type Rules struct {
	render.Backend
	// Writes counts the nftables transactions or the iptables and ipset programs that wrote, and Longest is the time of
	// the longest. They change while the renderer works.
	Writes  int
	Longest time.Duration

	close func() error
}

// Open opens a backend by its name. It writes nothing.
func Open(s *space.Space, name string) (*Rules, error) {
	r := &Rules{close: func() error { return nil }}
	if name == NFTables {
		conn, err := s.Connect()
		if err != nil {
			return nil, err
		}
		r.Backend, r.close = nft.New(transactions{conn, r}, nft.Options{}), conn.Close
		return r, nil
	}
	tools, err := Programs(s, name)
	if err != nil {
		return nil, err
	}
	r.Backend = iptables.New(programs{tools, r}, iptables.Options{})
	return r, nil
}

// Close ends the connection. The rules stay.
func (r *Rules) Close() error { return r.close() }

// Programs returns the iptables programs of a backend; they act on the namespace.
func Programs(s *space.Space, name string) (iptables.Kernel, error) {
	p, err := xtables.Within(s.Do, ipkernel.Find, variant(name))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return p, nil
}

func variant(name string) ipkernel.Variant {
	return ipkernel.Variant(strings.TrimPrefix(name, "iptables-"))
}

func (r *Rules) time(write func() error) error {
	start := time.Now()
	err := write()
	r.Longest = max(r.Longest, time.Since(start))
	r.Writes++
	return err
}

// transactions times nftables transactions.
type transactions struct {
	*nftkernel.Conn
	rules *Rules
}

// Commit times the transaction.
func (t transactions) Commit(tx *change.Tx) error {
	err := t.rules.time(func() error { return t.Conn.Commit(tx) })
	if err != nil {
		return fmt.Errorf("transaction of %d operations: %w", len(tx.Ops), err)
	}
	return nil
}
