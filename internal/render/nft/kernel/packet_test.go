package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/change"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/ruleset"
	"github.com/netpol-agent/netpol-agent/test/nft/trace"
)

// The addresses of the test's namespace.
var local = map[ruleset.Family]netip.Addr{ruleset.V4: addr("192.0.2.77"), ruleset.V6: addr("2001:db8::77")}

// blackHole adds to the namespace an interface that accepts packets to every destination and loses them in a namespace
// where nobody listens.
func (n namespace) blackHole(tb testing.TB) {
	tb.Helper()
	nowhere := newNamespace(tb)
	h, err := netlink.NewHandleAt(netns.NsHandle(n.FD()))
	if err != nil {
		tb.Fatal(err)
	}
	defer h.Close()
	must := func(err error) {
		tb.Helper()
		if err != nil {
			tb.Fatalf("set up the namespace: %v", err)
		}
	}
	must(h.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "hole"}, PeerName: "bottom"}))
	link, err := h.LinkByName("hole")
	must(err)
	bottom, err := h.LinkByName("bottom")
	must(err)
	must(h.LinkSetARPOff(link))
	for _, a := range local {
		full := &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}
		must(h.AddrAdd(link, &netlink.Addr{IPNet: full, Flags: unix.IFA_F_NODAD}))
	}
	must(h.LinkSetUp(link))
	must(h.LinkSetNsFd(bottom, nowhere.FD()))
	other, err := netlink.NewHandleAt(netns.NsHandle(nowhere.FD()))
	must(err)
	defer other.Close()
	must(other.LinkSetUp(bottom))
	for _, a := range local {
		all := &net.IPNet{IP: make(net.IP, a.BitLen()/8), Mask: net.CIDRMask(0, a.BitLen())}
		must(h.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: all}))
	}
	waitLocal(tb, h)
}

// waitLocal waits until the kernel treats the IPv6 address as its own, which happens some time after the link is up.
func waitLocal(tb testing.TB, h *netlink.Handle) {
	tb.Helper()
	want := local[ruleset.V6].String() + "/128"
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		routes, err := h.RouteListFiltered(unix.AF_INET6, &netlink.Route{Table: unix.RT_TABLE_LOCAL}, netlink.RT_FILTER_TABLE)
		if err != nil {
			tb.Fatalf("list local routes: %v", err)
		}
		for _, r := range routes {
			if r.Dst != nil && r.Dst.String() == want && r.Type == unix.RTN_LOCAL {
				return
			}
		}
	}
	tb.Fatalf("the kernel does not treat %s as its own", want)
}

// sender sends packets with any header through the namespace's output hook.
type sender struct {
	fds   map[ruleset.Family]int
	count uint16
	// seen holds the ends of packets that have neither ports nor an identifier.
	seen map[[2]netip.Addr]bool
}

// fresh replaces the protocol of a packet that conntrack would take for the reply to an earlier one.
func (s *sender) fresh(p trace.Packet) trace.Packet {
	if p.Protocol == unix.IPPROTO_GRE && s.seen[[2]netip.Addr{p.Dst, p.Src}] {
		p.Protocol = unix.IPPROTO_TCP
	}
	if p.Protocol == unix.IPPROTO_GRE {
		s.seen[[2]netip.Addr{p.Src, p.Dst}] = true
	}
	return p
}

func (n namespace) sender(tb testing.TB) *sender {
	tb.Helper()
	s := &sender{fds: map[ruleset.Family]int{}, seen: map[[2]netip.Addr]bool{}}
	n.run(tb, func() error {
		four, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			return err
		}
		s.fds[ruleset.V4] = four
		six, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		s.fds[ruleset.V6] = six
		return err
	})
	tb.Cleanup(func() {
		for _, fd := range s.fds {
			_ = unix.Close(fd)
		}
	})
	return s
}

// send reports whether a packet passed the rules. The kernel reports a drop at the output hook to the sender.
func (s *sender) send(p trace.Packet) (bool, error) {
	s.count++
	family := program.FamilyOf(p.Dst)
	var err error
	if family == ruleset.V4 {
		err = unix.Sendto(s.fds[family], ipv4(p, s.count), 0, &unix.SockaddrInet4{Addr: p.Dst.As4()})
	} else {
		err = unix.Sendto(s.fds[family], ipv6(p, s.count), 0, &unix.SockaddrInet6{Addr: p.Dst.As16()})
	}
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, unix.EPERM):
		return false, nil
	}
	return false, fmt.Errorf("send %+v: %w", p, err)
}

// transportHeader returns a transport header. The source port, or the identifier of ICMP, differs from packet to
// packet, so that conntrack sees no connection.
func transportHeader(p trace.Packet, n uint16) []byte {
	b := make([]byte, 24)
	switch p.Protocol {
	case unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_SCTP:
		binary.BigEndian.PutUint16(b, 1024+n%60000)
		binary.BigEndian.PutUint16(b[2:], p.DstPort)
	case unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6:
		b[0] = p.ICMPType
		binary.BigEndian.PutUint16(b[4:], n)
	}
	switch p.Protocol {
	case unix.IPPROTO_TCP:
		b[12], b[13] = 5<<4, 0x10
		if p.SYN {
			b[13] = 0x02 | 0xc0 // with the two ECN bits, which do not matter
		}
	case unix.IPPROTO_UDP:
		binary.BigEndian.PutUint16(b[4:], uint16(len(b)))
	}
	return b
}

func ipv4(p trace.Packet, n uint16) []byte {
	b := make([]byte, 20)
	b[0], b[8], b[9] = 4<<4|5, 64, p.Protocol
	copy(b[12:], p.Src.AsSlice())
	copy(b[16:], p.Dst.AsSlice())
	return slices.Concat(b, transportHeader(p, n))
}

func ipv6(p trace.Packet, n uint16) []byte {
	b := make([]byte, 40)
	b[0], b[6], b[7] = 6<<4, p.Protocol, 64
	copy(b[8:], p.Src.AsSlice())
	copy(b[24:], p.Dst.AsSlice())
	th := transportHeader(p, n)
	binary.BigEndian.PutUint16(b[4:], uint16(len(th)))
	return slices.Concat(b, th)
}

// TestKernelAgreesWithTrace shows that the kernel interprets the rules as trace.Trace does: random packets get the same
// verdict from both.
func TestKernelAgreesWithTrace(t *testing.T) {
	ns := newNamespace(t)
	ns.blackHole(t)
	c, out := ns.open(t), ns.sender(t)
	passed, dropped := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		rs := drawRuleset(rt)
		for _, ch := range rs.Chains {
			if ch.Hook != nil {
				ch.Hook.Point = ruleset.Output
			}
		}
		table := randomTable()
		mustCommit(rt, c, load(table, rs))
		defer mustCommit(rt, c, &change.Tx{Ops: []change.Op{change.DelTable{Table: table}}})
		for range 40 {
			p := out.fresh(drawPacket(rt, rs))
			want, steps := trace.Trace(rs, ruleset.Output, p)
			got, err := out.send(p)
			if err != nil {
				rt.Fatal(err)
			}
			if got != (want.Kind == ruleset.Accept) {
				rt.Fatalf("packet %+v: passed the kernel %t, but the trace is %v: %v\n%s", p, got, want, steps, rs.Text(table))
			}
			if got {
				passed++
			} else {
				dropped++
			}
		}
	})
	if passed == 0 || dropped == 0 {
		t.Errorf("%d packets passed, %d dropped: the test proves nothing", passed, dropped)
	}
}

// drawPacket draws a packet whose fields often occur in rs.
func drawPacket(t *rapid.T, rs *ruleset.Ruleset) trace.Packet {
	f := drawFamily(t)
	p := trace.Packet{
		Src:      drawKnownAddr(t, rs, f),
		Dst:      routable(drawKnownAddr(t, rs, f)),
		Protocol: rapid.SampledFrom([]uint8{1, 6, 6, 17, 47, 58, 132}).Draw(t, "protocol"),
		DstPort:  drawKnownPort(t, rs),
		ICMPType: rapid.Byte().Draw(t, "type"),
		SYN:      rapid.Bool().Draw(t, "syn"),
	}
	if rapid.IntRange(0, 5).Draw(t, "local") == 0 {
		p.Src = local[f]
	}
	// The kernel fills in an unspecified source address, and treats a loopback one as its own.
	if p.Src == netip.IPv4Unspecified() || p.Src.IsLoopback() {
		p.Src = map[ruleset.Family]netip.Addr{ruleset.V4: addr("0.0.0.1"), ruleset.V6: addr("::2")}[f]
	}
	p.LocalSource = p.Src == local[f]
	return p
}

// routable replaces destinations to which no ordinary packet can be sent.
func routable(a netip.Addr) netip.Addr {
	switch {
	case a.Is4() && (a.As4()[0] == 0 || a.As4()[0] == 127 || a.As4()[0] >= 224):
		return addr("10.9.8.7")
	case a.Is6() && (a.IsMulticast() || a.IsLoopback() || a.IsUnspecified() || a.IsLinkLocalUnicast()):
		return addr("fd00::1")
	}
	return a
}

func drawKnownAddr(t *rapid.T, rs *ruleset.Ruleset, f ruleset.Family) netip.Addr {
	known := []netip.Addr{drawAddr(t, f == ruleset.V4)}
	for _, s := range sortedSets(rs) {
		for _, e := range s.Sorted() {
			for _, a := range []netip.Addr{e.Elem.A, e.Elem.B} {
				if a.IsValid() && program.FamilyOf(a) == f {
					known = append(known, a)
				}
			}
		}
	}
	a := rapid.SampledFrom(known).Draw(t, "address")
	switch rapid.IntRange(0, 3).Draw(t, "beside") {
	case 0:
		if a.Next().IsValid() {
			a = a.Next()
		}
	case 1:
		if a.Prev().IsValid() {
			a = a.Prev()
		}
	}
	return a
}

func drawKnownPort(t *rapid.T, rs *ruleset.Ruleset) uint16 {
	known := []uint16{rapid.Uint16().Draw(t, "port")}
	for _, s := range sortedSets(rs) {
		for _, e := range s.Sorted() {
			known = append(known, e.Elem.Port)
		}
	}
	return rapid.SampledFrom(known).Draw(t, "port")
}
