package backend

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	ipkernel "github.com/netpol-agent/netpol-agent/internal/render/iptables/kernel"
	nftkernel "github.com/netpol-agent/netpol-agent/internal/render/nft/kernel"
	"github.com/netpol-agent/netpol-agent/test/testns"
)

// fakeNode returns a machine with what the arguments state.
func fakeNode(nftErr, iptErr error, others ipkernel.Variant) node {
	tools := func(_ ipkernel.Variant, _ ...ipkernel.Option) (*ipkernel.Tools, error) {
		if iptErr != nil {
			return nil, iptErr
		}
		return &ipkernel.Tools{}, nil
	}
	return node{
		openNFT: func() (*nftkernel.Conn, error) {
			if nftErr != nil {
				return nil, nftErr
			}
			return &nftkernel.Conn{}, nil
		},
		openIPT: tools, findIPT: tools,
		variants: func(candidates ...ipkernel.Variant) (ipkernel.Variant, string, error) {
			for _, c := range candidates {
				if c == others {
					return c, "others use it", nil
				}
			}
			return candidates[0], "the only one", nil
		},
	}
}

// TestKernelOpenChoosesByWhatTheNodeHas shows which backend is chosen, with the reason, or the error if there is none.
func TestKernelOpenChoosesByWhatTheNodeHas(t *testing.T) {
	noNFT := fmt.Errorf("connect to nf_tables: %w", nftkernel.ErrNoNFTables)
	noRight := fmt.Errorf("connect to nf_tables: %w", nftkernel.ErrPermission)
	noTools := fmt.Errorf("%w: ipset is not in $PATH (Debian package ipset)", ipkernel.ErrNoPrograms)
	for _, c := range []struct {
		name         string
		cfg          Config
		nft, ipt     error
		others       ipkernel.Variant
		want, reason string
		// refused is part of the error.
		refused string
	}{
		{name: "auto prefers nftables", want: NFTables, reason: "the kernel has nf_tables"},
		{name: "auto without iptables", cfg: Config{Backend: Auto}, ipt: noTools, want: NFTables, reason: "the kernel has nf_tables"},
		{name: "auto without nf_tables", nft: noNFT, others: ipkernel.NFT, want: "iptables-legacy", reason: "the kernel has no nf_tables; the only one"},
		{name: "auto with nothing", nft: noNFT, ipt: noTools, refused: "no backend can be used: nftables: connect"},
		{name: "auto without the right", nft: noRight, refused: "needs CAP_NET_ADMIN"},
		{name: "nftables asked for", cfg: Config{Backend: NFTables}, want: NFTables, reason: "asked for"},
		{name: "nftables asked for and not there", cfg: Config{Backend: NFTables}, nft: noNFT, refused: "nftables: connect to nf_tables: the kernel has no nf_tables"},
		{name: "iptables asked for", cfg: Config{Backend: IPTables, Variant: Auto}, others: ipkernel.Legacy, want: "iptables-legacy", reason: "asked for; others use it"},
		{name: "variant asked for", cfg: Config{Backend: IPTables, Variant: NFT}, others: ipkernel.Legacy, want: "iptables-nft", reason: "asked for"},
		{name: "iptables without nf_tables", cfg: Config{Backend: IPTables}, nft: noNFT, others: ipkernel.NFT, want: "iptables-legacy", reason: "asked for; the only one"},
		{name: "iptables asked for and not there", cfg: Config{Backend: IPTables, Variant: NFT}, ipt: noTools, refused: "iptables-nft: program missing: ipset is not in $PATH (Debian package ipset)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := fakeNode(c.nft, c.ipt, c.others)
			n.openNFT = lasting(n.openNFT)
			got, err := open(c.cfg, n)
			switch {
			case c.refused != "":
				if err == nil || !strings.Contains(err.Error(), c.refused) || strings.Contains(err.Error(), "\n") {
					t.Errorf("%v", err)
				}
			case err != nil:
				t.Error(err)
			case got.Name != c.want || got.Reason != c.reason:
				t.Errorf("%s (%s), want %s (%s)", got.Name, got.Reason, c.want, c.reason)
			}
		})
	}
}

// lasting returns a connection that can be closed, if there is one.
func lasting(f func() (*nftkernel.Conn, error)) func() (*nftkernel.Conn, error) {
	return func() (*nftkernel.Conn, error) {
		if _, err := f(); err != nil {
			return nil, err
		}
		return nftkernel.Open()
	}
}

// TestKernelSweepWithoutPrograms sweeps and cleans up where there is no iptables, so nobody has written rules with it.
func TestKernelSweepWithoutPrograms(t *testing.T) {
	if os.Geteuid() != 0 {
		testns.Cannot(t, "needs root")
	}
	t.Setenv("PATH", t.TempDir())
	ns := testns.New(t)
	if err := ns.Run(func() error {
		c, err := Open(Config{})
		if err != nil {
			return err
		}
		gone, err := c.Sweep()
		left, cleanupErr := Cleanup(false)
		if len(gone)+len(left) > 0 {
			t.Errorf("removed %q, %q", gone, left)
		}
		return errors.Join(err, cleanupErr, c.Close())
	}); err != nil {
		t.Error(err)
	}
}
