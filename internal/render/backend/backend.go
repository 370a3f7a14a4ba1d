// Package backend chooses which renderer enforces on a node, nftables or iptables, and removes what the others left.
//
// It decides from what the kernel and the node have and from what the operator asked for, and states the reason. It does
// not decide what the rules are, or when they are written: that is up to the renderers and their caller.
//
// A change of backend opens nothing: the chosen renderer enforces first, and then a sweep removes what the others left.
// As long as both are there, both judge, which forbids more and allows nothing: an accept ends only the chains of the
// backend that it belongs to.
package backend

import (
	"errors"
	"fmt"
	"slices"

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
	// Variant is Auto, Legacy or NFT; "" is Auto. It applies to IPTables only.
	Variant  string
	Observer render.Observer
}

// node is what a choice needs of the machine.
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

// Open chooses a renderer and opens it. Nothing is written. The error states in one line what is missing.
func Open(cfg Config) (*render.Opened, error) { return open(cfg, thisNode()) }

func open(cfg Config, n node) (*render.Opened, error) {
	conn, err := n.openNFT()
	switch {
	case cfg.Backend == IPTables:
		return openIPTables(cfg, n, conn, "asked for")
	case err == nil && cfg.Backend == NFTables:
		return openNFTables(n, conn, "asked for"), nil
	case err == nil:
		return openNFTables(n, conn, "the kernel has nf_tables"), nil
	case cfg.Backend != NFTables && errors.Is(err, nftkernel.ErrNoNFTables):
		o, ipErr := openIPTables(cfg, n, nil, "the kernel has no nf_tables")
		if ipErr != nil {
			return nil, fmt.Errorf("no backend can be used: %s: %w; %w", NFTables, err, ipErr)
		}
		return o, nil
	}
	return nil, fmt.Errorf("%s: %w", NFTables, err)
}

func openNFTables(n node, conn *nftkernel.Conn, reason string) *render.Opened {
	return &render.Opened{
		Backend: nft.New(conn, nft.Options{}), Name: NFTables, Reason: reason, Close: conn.Close,
		Sweep: func() ([]string, error) { return n.removeIPTables(ipkernel.Variants(), iptables.Cleanup, false) },
	}
}

// openIPTables opens the iptables renderer. conn is nil if nf_tables cannot be reached.
func openIPTables(cfg Config, n node, conn *nftkernel.Conn, reason string) (*render.Opened, error) {
	v := ipkernel.Variant(cfg.Variant)
	if cfg.Variant == "" || cfg.Variant == Auto {
		of := ipkernel.Variants()
		if conn == nil {
			of = []ipkernel.Variant{ipkernel.Legacy} // the other one needs nf_tables
		}
		var why string
		var err error
		if v, why, err = n.variants(of...); err != nil {
			return nil, closeAfter(conn, fmt.Errorf("%s: %w", IPTables, err))
		}
		reason += "; " + why
	}
	var opts []ipkernel.Option
	if cfg.Observer.LockWaited != nil {
		opts = append(opts, ipkernel.WithLockObserver(cfg.Observer.LockWaited))
	}
	tools, err := n.openIPT(v, opts...)
	if err != nil {
		return nil, closeAfter(conn, fmt.Errorf("%s: %w", v.Name(), err))
	}
	return &render.Opened{
		Backend: iptables.New(tools, iptables.Options{}), Name: v.Name(), Reason: reason,
		Sweep: func() ([]string, error) { return n.sweepBeside(v, conn) },
		Close: func() error { return closeAfter(conn, nil) },
	}, nil
}

// closeAfter closes the connection, if there is one, and returns err.
func closeAfter(conn *nftkernel.Conn, err error) error {
	if conn != nil {
		_ = conn.Close()
	}
	return err
}

// sweepBeside removes what nftables and the other variants than v left. The sets stay: v uses them.
func (n node) sweepBeside(v ipkernel.Variant, conn *nftkernel.Conn) ([]string, error) {
	var gone []string
	var nftErr error
	if conn != nil {
		gone, nftErr = removeNFTables(conn, false)
	}
	others := slices.DeleteFunc(ipkernel.Variants(), func(other ipkernel.Variant) bool { return other == v })
	removed, err := n.removeIPTables(others, iptables.Chains, false)
	return append(gone, removed...), errors.Join(nftErr, err)
}

// removeIPTables removes the rules of some variants by iptables.Cleanup or iptables.Chains. A variant whose programs the
// node does not have is left out: then nobody wrote any rules, or nobody here can tell.
func (n node) removeIPTables(variants []ipkernel.Variant, by func([]iptables.Kernel, bool) ([]string, error), dryRun bool) ([]string, error) {
	var kernels []iptables.Kernel
	var errs []error
	for _, v := range variants {
		tools, err := n.findIPT(v)
		switch {
		case errors.Is(err, ipkernel.ErrNoPrograms):
		case err != nil:
			errs = append(errs, fmt.Errorf("%s: %w", v.Name(), err))
		default:
			kernels = append(kernels, tools)
		}
	}
	removed, err := by(kernels, dryRun)
	return removed, errors.Join(append(errs, err)...)
}

func removeNFTables(conn *nftkernel.Conn, dryRun bool, also ...string) ([]string, error) {
	tables, err := nft.Cleanup(conn, dryRun, also...)
	for i := range tables {
		tables[i] = "table inet " + tables[i]
	}
	return tables, err
}

// Cleanup removes what any renderer, in any variant, keeps on this node, and nothing else; also names further nftables
// tables of ours. It returns what it removed. With dryRun it removes nothing and returns what is there.
func Cleanup(dryRun bool, also ...string) ([]string, error) { return thisNode().cleanup(dryRun, also) }

func (n node) cleanup(dryRun bool, also []string) ([]string, error) {
	var gone []string
	variants := ipkernel.Variants()
	conn, err := n.openNFT()
	switch {
	case err == nil:
		defer conn.Close() //nolint:errcheck // all answers have arrived
		gone, err = removeNFTables(conn, dryRun, also...)
	case errors.Is(err, nftkernel.ErrNoNFTables):
		variants = []ipkernel.Variant{ipkernel.Legacy}
	default:
		return nil, err
	}
	if errors.Is(err, nftkernel.ErrNoNFTables) {
		err = nil
	}
	removed, ipErr := n.removeIPTables(variants, iptables.Cleanup, dryRun)
	return append(gone, removed...), errors.Join(err, ipErr)
}

// Render returns the text of a program's rules as a backend, NFTables or IPTables, would install them.
func Render(name string, p *program.Program) string {
	if name == IPTables {
		return iptables.Render(p).Text()
	}
	return nft.Render(p).Text(nft.DefaultTable)
}
