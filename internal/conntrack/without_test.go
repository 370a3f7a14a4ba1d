package conntrack

import (
	"net/netip"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/netpol-agent/netpol-agent/test/testns"
)

// TestKernelWithoutNFTables requests a subsystem of nfnetlink that no kernel has. The kernel answers as one without nf_tables
// does: flows are still found and cut, and nothing is held or tried again.
func TestKernelWithoutNFTables(t *testing.T) {
	ns := testns.New(t)
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: ns.FD()})
	if err != nil {
		t.Fatal(err)
	}
	if err := hasSubsystem(conn, holdSubsystem); err != nil {
		t.Errorf("this kernel has nf_tables: %v", err)
	}
	missing := hasSubsystem(conn, 200)
	if missing == nil {
		t.Fatal("a subsystem that does not exist is there")
	}
	table := &Table{conn: conn, cannotHold: missing}
	udp := Flow{Reply: Tuple{Src: netip.MustParseAddr("10.0.0.1"), Dst: netip.MustParseAddr("10.0.0.2"), Protocol: unix.IPPROTO_UDP, SrcPort: 1, DstPort: 2}}
	if err := table.Hold([]Flow{udp}); err != nil || table.CanHold() == nil {
		t.Errorf("hold: %v, %v", err, table.CanHold())
	}
	if left, err := table.Release(); left != 0 || err != nil {
		t.Errorf("release: %v, %v", left, err)
	}
	if err := table.Dump(t.Context(), map[netip.Addr]struct{}{udp.Reply.Src: {}}, func(Flow) {}); err != nil {
		t.Errorf("dump: %v", err)
	}
	if err := table.Close(); err != nil {
		t.Error(err)
	}
}
