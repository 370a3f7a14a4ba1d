// Package backend chooses which renderer enforces on a node, nftables or iptables, and removes what the others left.
//
// It decides from what the kernel and the node have and from what the operator asked for, and says why. It does not
// decide what the rules are, or when they are written: the renderers and their caller do.
//
// A change of backend opens nothing: the chosen renderer enforces first, and then Sweep removes what others left.
// As long as both are there both judge, which forbids more and allows nothing: each accept ends only the chains of
// its own.
package backend

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/render"
	"github.com/netpol-agent/netpol-agent/internal/render/iptables"
	ipkernel "github.com/netpol-agent/netpol-agent/internal/render/iptables/kernel"
	"github.com/netpol-agent/netpol-agent/internal/render/nft"
	nftkernel "github.com/netpol-agent/netpol-agent/internal/render/nft/kernel"
)

// Words by which operators ask for a backend or a variant of the iptables binary.
const (
	Auto     = "auto"
	NFTables = "nftables"
	IPTables = "iptables"
	Legacy   = string(ipkernel.Legacy)
	NFT      = string(ipkernel.NFT)
)

// Config is what the operator asks for. The zero value chooses by what the node has.
type Config struct {
	// Backend is Auto, NFTables or IPTables; "" is Auto.
	Backend string
	// Variant is Auto, Legacy or NFT; "" is Auto. It counts for IPTables only.
	Variant string
	// LockWaited, if not nil, hears of each wait for the xtables lock.
	LockWaited func(took time.Duration, failed bool)
}

// Renderer keeps the kernel equal to a program; nft.Renderer and iptables.Renderer are the two there are.
type Renderer interface {
	Sync(p *program.Program) (render.Stats, error)
	Apply(p *program.Program, d *program.Delta) (render.Stats, error)
	Drifted() (bool, error)
	Counts() map[string]render.Counts
	Table() string
}

// Chosen is the renderer that enforces, open and ready to write.
type Chosen struct {
	Renderer
	// Name is "nftables", "iptables-legacy" or "iptables-nft".
	Name string
	// Reason says why this one.
	Reason string

	node node
	conn *nftkernel.Conn
	// others are the places of iptables rules that are not in use; sets says that ipsets are not in use either.
	others []ipkernel.Variant
	sets   bool
}

// node is what a choice asks of the machine.
type node struct {
	openNFT  func() (*nftkernel.Conn, error)
	openIPT  func(ipkernel.Variant, ...ipkernel.Option) (*ipkernel.Tools, error)
	findIPT  func(ipkernel.Variant, ...ipkernel.Option) (*ipkernel.Tools, error)
	variants func(...ipkernel.Variant) (ipkernel.Variant, string, error)
}

func thisNode() node {
	return node{
		openNFT: func() (*nftkernel.Conn, error) { return nftkernel.Open() },
		openIPT: ipkernel.Open, findIPT: ipkernel.Find, variants: ipkernel.Detect,
	}
}

// Open chooses a renderer and opens it. Nothing is written. The error says in one line what is missing.
func Open(cfg Config) (*Chosen, error) { return open(cfg, thisNode()) }

func open(cfg Config, n node) (*Chosen, error) {
	conn, err := n.openNFT()
	switch {
	case cfg.Backend == IPTables:
		return openIPTables(cfg, n, conn, "asked for")
	case err == nil && cfg.Backend == NFTables:
		return openNFTables(n, conn, "asked for"), nil
	case err == nil:
		return openNFTables(n, conn, "the kernel has nf_tables"), nil
	case cfg.Backend != NFTables && errors.Is(err, nftkernel.ErrNoNFTables):
		c, ipErr := openIPTables(cfg, n, nil, "the kernel has no nf_tables")
		if ipErr != nil {
			return nil, fmt.Errorf("no backend can be used: %s: %w; %w", NFTables, err, ipErr)
		}
		return c, nil
	}
	return nil, fmt.Errorf("%s: %w", NFTables, err)
}

func openNFTables(n node, conn *nftkernel.Conn, reason string) *Chosen {
	variants := ipkernel.Variants()
	return &Chosen{Renderer: nft.New(conn, nft.Options{}), Name: NFTables, Reason: reason, node: n, conn: conn,
		others: variants[:], sets: true}
}

// openIPTables opens the iptables renderer; conn is nil if nf_tables cannot be reached.
func openIPTables(cfg Config, n node, conn *nftkernel.Conn, reason string) (*Chosen, error) {
	v := ipkernel.Variant(cfg.Variant)
	if cfg.Variant == "" || cfg.Variant == Auto {
		candidates := ipkernel.Variants()
		of := candidates[:]
		if conn == nil {
			of = []ipkernel.Variant{ipkernel.Legacy} // the other one speaks to nf_tables
		}
		var why string
		var err error
		if v, why, err = n.variants(of...); err != nil {
			return nil, closeAfter(conn, fmt.Errorf("%s: %w", IPTables, err))
		}
		reason += "; " + why
	}
	var opts []ipkernel.Option
	if cfg.LockWaited != nil {
		opts = append(opts, ipkernel.WithLockObserver(cfg.LockWaited))
	}
	tools, err := n.openIPT(v, opts...)
	if err != nil {
		return nil, closeAfter(conn, fmt.Errorf("%s: %w", v.Name(), err))
	}
	c := &Chosen{Renderer: iptables.New(tools, iptables.Options{Variant: string(v)}), Name: v.Name(), Reason: reason, node: n, conn: conn}
	for _, other := range ipkernel.Variants() {
		if other != v {
			c.others = append(c.others, other)
		}
	}
	return c, nil
}

func closeAfter(conn *nftkernel.Conn, err error) error {
	if conn != nil {
		_ = conn.Close()
	}
	return err
}

// Close ends the connections. The rules stay.
func (c *Chosen) Close() error {
	if c.conn == nil {
		return nil
	}
	return c.conn.Close()
}

// Sweep removes what renderers that are not in use have left, and nothing else; it gives what that was. It is for
// the time when the chosen one enforces, and safe to call while that one works. What one of the others left does not
// keep the rest.
func (c *Chosen) Sweep() ([]string, error) {
	var gone []string
	var errs []error
	if c.Name != NFTables && c.conn != nil {
		tables, err := nft.Cleanup(c.conn, false)
		gone, errs = append(gone, named(tables)...), append(errs, err)
	}
	places, err := c.node.places(c.others)
	errs = append(errs, err)
	remove := iptables.Chains
	if c.sets {
		remove = iptables.Cleanup
	}
	removed, err := remove(places, false)
	return append(gone, removed...), errors.Join(append(errs, err)...)
}

// places gives where the variants keep rules, as far as the node has their programs: without, nobody wrote any, or
// nobody here can tell.
func (n node) places(variants []ipkernel.Variant) ([]iptables.Place, error) {
	var out []iptables.Place
	for _, v := range variants {
		tools, err := n.findIPT(v)
		if errors.Is(err, ipkernel.ErrNoPrograms) {
			continue
		}
		if err != nil {
			return out, fmt.Errorf("%s: %w", v.Name(), err)
		}
		out = append(out, iptables.Place{Name: v.Name(), Kernel: tools})
	}
	return out, nil
}

func named(tables []string) []string {
	out := make([]string, len(tables))
	for i, t := range tables {
		out[i] = "table inet " + t
	}
	return out
}

// Cleanup removes what any renderer, in any variant, keeps on this node, and nothing else; also names further nftables
// tables of ours. It gives what was there; with dryRun it only says so.
func Cleanup(dryRun bool, also ...string) ([]string, error) { return cleanup(thisNode(), dryRun, also) }

func cleanup(n node, dryRun bool, also []string) ([]string, error) {
	var gone []string
	conn, err := n.openNFT()
	variants := ipkernel.Variants()
	of := variants[:]
	switch {
	case errors.Is(err, nftkernel.ErrNoNFTables):
		of = []ipkernel.Variant{ipkernel.Legacy}
	case err != nil:
		return nil, err
	default:
		defer conn.Close() //nolint:errcheck // whatever happens to the connection now, the answers have arrived
		var tables []string
		tables, err = nft.Cleanup(conn, dryRun, also...)
		gone = named(tables)
	}
	if errors.Is(err, nftkernel.ErrNoNFTables) {
		err = nil
	}
	places, placesErr := n.places(of)
	removed, ipErr := iptables.Cleanup(places, dryRun)
	return append(gone, removed...), errors.Join(err, placesErr, ipErr)
}

// Render gives the text of a program's rules as a backend, NFTables or IPTables, would install them.
func Render(name string, p *program.Program) string {
	if name == IPTables {
		return strings.TrimSuffix(iptables.Render(p).Text(), "\n") + "\n"
	}
	return nft.Render(p).Text(nft.New(nil, nft.Options{}).Table())
}
