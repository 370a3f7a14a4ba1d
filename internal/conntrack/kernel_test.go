package conntrack

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/netpol-agent/netpol-agent/internal/render/nft/change"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/kernel"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/ruleset"
	"github.com/netpol-agent/netpol-agent/test/testns"
)

const (
	clientIP = "10.77.1.2"
	serverIP = "10.77.2.2"
)

// routed is a client and a server, with a router in between that tracks connections.
type routed struct {
	client, router, server *testns.NS
	table                  *Table
}

func newRouted(t testing.TB) *routed {
	t.Helper()
	r := &routed{client: testns.New(t), router: testns.New(t), server: testns.New(t)}
	testns.Connect(r.client, "eth0", r.router, "c")
	testns.Connect(r.server, "eth0", r.router, "s")
	for _, end := range []struct {
		ns              *testns.NS
		port, addr, via string
	}{
		{r.client, "c", "10.77.1.", "10.77.2.0/24"}, {r.server, "s", "10.77.2.", "10.77.1.0/24"},
	} {
		r.router.Addr(end.port, end.addr+"1/24")
		end.ns.Addr("eth0", end.addr+"2/24")
		end.ns.Route(end.via, end.addr+"1")
	}
	r.router.Addr("c", "fd77:1::1/64")
	r.router.Addr("s", "fd77:2::1/64")
	r.client.Addr("eth0", "fd77:1::2/64")
	r.server.Addr("eth0", "fd77:2::2/64")
	r.client.Route("fd77:2::/64", "fd77:1::1")
	r.server.Route("fd77:1::/64", "fd77:2::1")
	r.router.Sysctl("net/ipv4/ip_forward", "1")
	r.router.Sysctl("net/ipv6/conf/all/forwarding", "1")
	track(t, r.router)
	r.table = open(t, r.router)
	return r
}

// track makes the kernel track a namespace's connections. A rule that matches their state is enough.
func track(t testing.TB, ns *testns.NS) {
	t.Helper()
	c, err := kernel.Open(kernel.WithNetNS(ns.FD()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	accept := ruleset.Verdict{Kind: ruleset.Accept}
	chain := &ruleset.Chain{Name: "forward", Hook: &ruleset.Hook{Point: ruleset.Forward}}
	if err := c.Commit(&change.Tx{Ops: []change.Op{
		change.AddTable{Table: "track"},
		change.AddChain{Table: "track", Chain: chain},
		change.AddRule{Table: "track", Chain: "forward", Rule: ruleset.Rule{
			Matches: []ruleset.Match{ruleset.CtEstablished{}}, Verdict: accept}},
	}}); err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, ns *testns.NS) *Table {
	t.Helper()
	table, err := Open(WithNetNS(ns.FD()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = table.Close() })
	return table
}

// speak sends a word and returns an error if it does not come back.
func speak(c net.Conn) error {
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	if _, err := c.Write([]byte("word")); err != nil {
		return err
	}
	_, err := io.ReadFull(c, make([]byte, 4))
	return err
}

func (r *routed) connections(t testing.TB, addrs ...string) []string {
	t.Helper()
	return connections(t, r.table, addrs...)
}

// connections returns the connections of some addresses as text.
func connections(t testing.TB, table *Table, addrs ...string) []string {
	t.Helper()
	set := map[string]struct{}{}
	if err := table.Dump(t.Context(), addrSet(addrs...), func(f Flow) {
		c := f.Connection()
		set[fmt.Sprintf("%d %s>%s:%d", c.Protocol, c.Src, c.Dst, c.DstPort)] = struct{}{}
	}); err != nil {
		t.Fatal(err)
	}
	return slices.Sorted(maps.Keys(set))
}

func addrSet(addrs ...string) map[netip.Addr]struct{} {
	out := map[netip.Addr]struct{}{}
	for _, a := range addrs {
		out[netip.MustParseAddr(a)] = struct{}{}
	}
	return out
}

func (r *routed) ping(t testing.TB, network, addr string, echo []byte) {
	t.Helper()
	var conn net.PacketConn
	if err := r.client.Run(func() (err error) {
		conn, err = net.ListenPacket(network, "")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := conn.WriteTo(echo, &net.IPAddr{IP: net.ParseIP(addr)}); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := conn.ReadFrom(make([]byte, 1500)); err != nil {
		t.Fatalf("no answer to a ping: %v", err)
	}
}

// icmpEcho includes its checksum. The kernel fills in that of ICMPv6.
var icmpEcho = []byte{8, 0, 0xf7, 0xf7, 0, 7, 0, 1}

func TestKernelCutsForbiddenConnectionsOnly(t *testing.T) {
	r := newRouted(t)
	r.server.EchoTCP(":80")
	r.server.EchoTCP(":81")
	r.server.EchoUDP(":53")
	r.server.EchoUDP(":54")
	conns := map[string]net.Conn{}
	for _, c := range []string{"tcp 80", "tcp 81", "udp 53", "udp 54"} {
		var network, port string
		_, _ = fmt.Sscan(c, &network, &port)
		conns[c] = r.client.Dial(network, net.JoinHostPort(serverIP, port))
		conns[c+" v6"] = r.client.Dial(network, net.JoinHostPort("fd77:2::2", port))
	}
	for name, c := range conns {
		if err := speak(c); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	r.ping(t, "ip4:icmp", serverIP, icmpEcho)
	if got := r.connections(t, serverIP); len(got) != 5 {
		t.Fatalf("filtered dump by the server's address: %v", got)
	}
	if got := r.connections(t, "fd77:1::2"); len(got) != 4 {
		t.Fatalf("filtered dump by the client's address: %v", got)
	}
	if got := r.connections(t, "10.77.9.9"); len(got) != 0 {
		t.Fatalf("connections of an address that has none: %v", got)
	}

	forbidden := func(c Tuple) bool {
		return c.DstPort == 80 || c.DstPort == 53 || c.Protocol == unix.IPPROTO_ICMP
	}
	looked, cut := pass(t, r.table, forbidden, serverIP, "fd77:2::2")
	if looked != 9 || cut != 5 {
		t.Errorf("looked at %d, cut %d", looked, cut)
	}
	want := []string{"17 10.77.1.2>10.77.2.2:54", "17 fd77:1::2>fd77:2::2:54", "6 10.77.1.2>10.77.2.2:81", "6 fd77:1::2>fd77:2::2:81"}
	if got := r.connections(t, serverIP, "fd77:2::2"); !slices.Equal(got, want) {
		t.Errorf("left are %v, want %v", got, want)
	}
	for _, name := range []string{"tcp 81", "tcp 81 v6", "udp 54", "udp 54 v6"} {
		if err := speak(conns[name]); err != nil {
			t.Errorf("%s was disturbed: %v", name, err)
		}
	}
}

// pass makes one pass over the connections of some addresses.
func pass(t testing.TB, table Entries, forbidden func(Tuple) bool, addrs ...string) (looked, cut int) {
	t.Helper()
	type result struct {
		looked, cut int
		err         error
	}
	done := make(chan result, 1)
	c := NewCutter(table, func(_ context.Context, flows []Flow) (out []Flow, err error) {
		for _, f := range flows {
			if forbidden(f.Connection()) {
				out = append(out, f)
			}
		}
		return out, nil
	}, Observer{Passed: func(looked, cut int, _ time.Duration, err error) { done <- result{looked, cut, err} }}, quiet())
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.Run(ctx)
	}()
	c.Look(maps.Keys(addrSet(addrs...)))
	r := <-done
	cancel()
	<-ended
	if r.err != nil {
		t.Fatal(r.err)
	}
	return r.looked, r.cut
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// insert creates an entry as if its packets had been seen.
func insert(t testing.TB, h *netlink.Handle, orig, reply netlink.IPTuple, family netlink.InetFamily) {
	t.Helper()
	if err := h.ConntrackCreate(netlink.ConntrackTable, family, &netlink.ConntrackFlow{
		FamilyType: uint8(family), Forward: orig, Reverse: reply, TimeOut: 600, ProtoInfo: protoInfo(orig.Protocol),
	}); err != nil {
		t.Fatal(err)
	}
}

func protoInfo(protocol uint8) netlink.ProtoInfo {
	if protocol == unix.IPPROTO_TCP {
		return &netlink.ProtoInfoTCP{State: 3} // established
	}
	return nil
}

func tuple(protocol uint8, src string, sport uint16, dst string, dport uint16) netlink.IPTuple {
	ip := func(s string) net.IP { return netip.MustParseAddr(s).AsSlice() }
	return netlink.IPTuple{Protocol: protocol, SrcIP: ip(src), SrcPort: sport, DstIP: ip(dst), DstPort: dport}
}

func handle(t testing.TB, ns *testns.NS) *netlink.Handle {
	t.Helper()
	var h *netlink.Handle
	if err := ns.Run(func() (err error) {
		h, err = netlink.NewHandle(unix.NETLINK_NETFILTER)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}

func TestKernelReadsConnectionsBehindNAT(t *testing.T) {
	ns := testns.New(t)
	track(t, ns)
	h, table := handle(t, ns), open(t, ns)
	// A client reaches a service's address, which becomes a server's; the client's address becomes the node's.
	insert(t, h, tuple(unix.IPPROTO_TCP, "10.0.0.9", 4000, "10.96.0.1", 80),
		tuple(unix.IPPROTO_TCP, "10.0.0.7", 8080, "10.0.0.1", 5000), unix.AF_INET)
	want := []string{"6 10.0.0.9>10.0.0.7:8080"}
	for _, addr := range []string{"10.0.0.9", "10.0.0.7"} {
		if got := connections(t, table, addr); !slices.Equal(got, want) {
			t.Errorf("connections of %s: %v", addr, got)
		}
	}
	for _, addr := range []string{"10.96.0.1", "10.0.0.1"} {
		if got := connections(t, table, addr); len(got) != 0 {
			t.Errorf("%s is no end of the connection: %v", addr, got)
		}
	}
	if _, cut := pass(t, table, func(Tuple) bool { return true }, "10.0.0.7"); cut != 1 {
		t.Errorf("cut %d", cut)
	}
	if got := connections(t, table, "10.0.0.9"); len(got) != 0 {
		t.Errorf("left are %v", got)
	}
}

func TestKernelManyAddressesAreOneDump(t *testing.T) {
	ns := testns.New(t)
	track(t, ns)
	h, table := handle(t, ns), open(t, ns)
	var addrs []string
	for i := range 2 * fullDumpFrom {
		a := fmt.Sprintf("10.1.0.%d", i+1)
		insert(t, h, tuple(unix.IPPROTO_UDP, a, 1000, "10.2.0.1", 53), tuple(unix.IPPROTO_UDP, "10.2.0.1", 53, a, 1000), unix.AF_INET)
		if i < fullDumpFrom {
			addrs = append(addrs, a)
		}
	}
	if got := connections(t, table, addrs...); len(got) != fullDumpFrom {
		t.Errorf("%d connections of %d addresses", len(got), fullDumpFrom)
	}
}

func TestKernelDeletingTwiceIsNoError(t *testing.T) {
	ns := testns.New(t)
	track(t, ns)
	h, table := handle(t, ns), open(t, ns)
	insert(t, h, tuple(unix.IPPROTO_UDP, "10.1.0.1", 1000, "10.2.0.1", 53), tuple(unix.IPPROTO_UDP, "10.2.0.1", 53, "10.1.0.1", 1000), unix.AF_INET)
	var flow Flow
	if err := table.Dump(t.Context(), addrSet("10.1.0.1"), func(f Flow) { flow = f }); err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{true, false} {
		if got, err := table.Delete(&flow); err != nil || got != want {
			t.Errorf("deletion %d: %t, %v", i, got, err)
		}
	}
}

// TestKernelNewEntryOfTheSameTupleSurvives deletes an entry that was replaced. Between dump and deletion a connection
// may end, and another one with the same addresses and ports may begin, which the rules allow by then.
func TestKernelNewEntryOfTheSameTupleSurvives(t *testing.T) {
	ns := testns.New(t)
	track(t, ns)
	h, table := handle(t, ns), open(t, ns)
	there, back := tuple(unix.IPPROTO_UDP, "10.1.0.1", 1000, "10.2.0.1", 53), tuple(unix.IPPROTO_UDP, "10.2.0.1", 53, "10.1.0.1", 1000)
	of := func() (out Flow) {
		if err := table.Dump(t.Context(), addrSet("10.1.0.1"), func(f Flow) { out = f }); err != nil {
			t.Fatal(err)
		}
		return out
	}
	remove := func(f Flow) {
		if deleted, err := table.Delete(&f); !deleted || err != nil {
			t.Fatalf("deleted %t, %v", deleted, err)
		}
	}
	insert(t, h, there, back, unix.AF_INET)
	old := of()
	remove(old)
	// The kernel derives an entry's identity from its tuple and its memory address. Other entries occupy free memory until the
	// tuple's entry gets another address than the old one had.
	for port := uint16(1); ; port++ {
		insert(t, h, tuple(unix.IPPROTO_UDP, "10.1.0.9", port, "10.2.0.1", 53), tuple(unix.IPPROTO_UDP, "10.2.0.1", 53, "10.1.0.9", port), unix.AF_INET)
		insert(t, h, there, back, unix.AF_INET)
		now := of()
		if !slices.Equal(now.key.id, old.key.id) {
			break
		}
		if port == 1000 {
			t.Fatal("the kernel gives every entry of the tuple the same identity")
		}
		remove(now)
	}
	if deleted, err := table.Delete(&old); deleted || err != nil {
		t.Errorf("deleted an entry that was never judged: %t, %v", deleted, err)
	}
}

func TestKernelClosedTableIsAnError(t *testing.T) {
	ns := testns.New(t)
	table := open(t, ns)
	_ = table.Close()
	if err := table.Dump(t.Context(), addrSet("10.0.0.1"), func(Flow) {}); err == nil {
		t.Error("no error")
	}
}

// TestKernelFlowWithoutIdentityDeletesNothing: to the kernel, a deletion that names no entry means all entries.
func TestKernelFlowWithoutIdentityDeletesNothing(t *testing.T) {
	ns := testns.New(t)
	track(t, ns)
	h, table := handle(t, ns), open(t, ns)
	insert(t, h, tuple(unix.IPPROTO_UDP, "10.1.0.1", 1000, "10.2.0.1", 53), tuple(unix.IPPROTO_UDP, "10.2.0.1", 53, "10.1.0.1", 1000), unix.AF_INET)
	if deleted, err := table.Delete(&Flow{}); deleted || err == nil {
		t.Errorf("deleted %t, error %v", deleted, err)
	}
	if got := connections(t, table, "10.1.0.1"); len(got) != 1 {
		t.Errorf("left are %v", got)
	}
}

// TestKernelUDPDoesNotComeBackThroughItsReplies: client and server talk all the time, so that there are always answers in
// flight.
func TestKernelUDPDoesNotComeBackThroughItsReplies(t *testing.T) {
	r := newRouted(t)
	for _, c := range []struct {
		name, server string
		port         uint16
	}{
		{"IPv4", serverIP, 53}, {"IPv6", "fd77:2::2", 63},
	} {
		t.Run(c.name, func(t *testing.T) {
			var arrived, other atomic.Int64
			for n, count := range map[uint16]*atomic.Int64{c.port: &arrived, c.port + 1: &other} {
				at := net.JoinHostPort(c.server, strconv.Itoa(int(n)))
				r.slowEcho(t, at, count)
				r.chatter(t, at)
			}
			moves := func(n *atomic.Int64) bool {
				before := n.Load()
				time.Sleep(300 * time.Millisecond)
				return n.Load() > before
			}
			for tries := 0; !moves(&arrived) || !moves(&other); tries++ {
				if tries == 20 {
					t.Fatal("nothing arrives before the cut")
				}
			}
			r.denyNew(t, c.port)
			if _, cut := pass(t, r.table, func(f Tuple) bool { return f.DstPort == c.port }, c.server); cut != 1 {
				t.Errorf("cut %d", cut)
			}
			time.Sleep(50 * time.Millisecond) // what had arrived is read
			if moves(&arrived) {
				t.Error("the connection came back")
			}
			if !moves(&other) {
				t.Error("another connection was disturbed")
			}
		})
	}
	// The table exists only as long as it is needed.
	if left, err := r.table.Release(); err != nil || left < 25*time.Second || left > holdFor+holdRest {
		t.Errorf("held for %s more, %v", left, err)
	}
	r.table.hold.until = time.Now().Add(-holdRest)
	if left, err := r.table.Release(); err != nil || left != 0 {
		t.Errorf("%s, %v", left, err)
	}
	if tables := r.tables(t); slices.Contains(tables, HoldTable) {
		t.Errorf("tables %v", tables)
	}
	// A table that a killed run has left is removed too.
	r.table.hold.table()
	if err := r.table.hold.conn.Flush(); err != nil {
		t.Fatal(err)
	}
	if tables := r.tables(t); !slices.Contains(tables, HoldTable) {
		t.Fatalf("tables %v", tables)
	}
	if _, err := open(t, r.router).Release(); err != nil {
		t.Error(err)
	}
	if tables := r.tables(t); slices.Contains(tables, HoldTable) {
		t.Errorf("tables %v", tables)
	}
}

func (r *routed) tables(t testing.TB) []string {
	t.Helper()
	c, err := nftables.New(nftables.WithNetNSFd(r.router.FD()))
	if err != nil {
		t.Fatal(err)
	}
	tables, err := c.ListTablesOfFamily(nftables.TableFamilyINet)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, table := range tables {
		names = append(names, table.Name)
	}
	return names
}

// denyNew makes the router refuse new connections to a UDP port, as a policy would.
func (r *routed) denyNew(t testing.TB, port uint16) {
	t.Helper()
	c, err := kernel.Open(kernel.WithNetNS(r.router.FD()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	name := fmt.Sprintf("deny-%d", port)
	chain := &ruleset.Chain{Name: "forward", Hook: &ruleset.Hook{Point: ruleset.Forward, Priority: 10}}
	add := func(kind ruleset.VerdictKind, m ruleset.Match) change.Op {
		return change.AddRule{Table: name, Chain: "forward", Rule: ruleset.Rule{
			Matches: []ruleset.Match{m}, Verdict: ruleset.Verdict{Kind: kind}}}
	}
	if err := c.Commit(&change.Tx{Ops: []change.Op{
		change.AddTable{Table: name},
		change.AddChain{Table: name, Chain: chain},
		add(ruleset.Accept, ruleset.CtEstablished{}),
		add(ruleset.Drop, ruleset.DstPort{Protocol: unix.IPPROTO_UDP, First: port, Last: port}),
	}}); err != nil {
		t.Fatal(err)
	}
}

// slowEcho counts what arrives at the server's port and answers each packet 5 ms later.
func (r *routed) slowEcho(t testing.TB, addr string, arrived *atomic.Int64) {
	t.Helper()
	var s net.PacketConn
	if err := r.server.Run(func() (err error) { s, err = net.ListenPacket("udp", addr); return err }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	go func() {
		buf := make([]byte, 100)
		for {
			n, from, err := s.ReadFrom(buf)
			if err != nil {
				return
			}
			arrived.Add(1)
			answer := slices.Clone(buf[:n])
			time.AfterFunc(5*time.Millisecond, func() { _, _ = s.WriteTo(answer, from) })
		}
	}()
}

// chatter sends a packet every 2 ms until the test ends.
func (r *routed) chatter(t testing.TB, addr string) {
	t.Helper()
	c := r.client.Dial("udp", addr)
	ctx := t.Context()
	go func() {
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				_, _ = c.Write([]byte("word"))
			}
		}
	}()
}

// BenchmarkKernelPass measures what a change of one pod's policies costs on a node with 100,000 connections.
func BenchmarkKernelPass(b *testing.B) {
	const entries = 100_000
	ns := testns.New(b)
	track(b, ns)
	h, table := handle(b, ns), open(b, ns)
	for i := range entries {
		src := fmt.Sprintf("10.1.%d.%d", i/250%200, i%250+1)
		insert(b, h, tuple(unix.IPPROTO_TCP, src, uint16(10000+i/50000), "10.2.0.1", 80),
			tuple(unix.IPPROTO_TCP, "10.2.0.1", 80, src, uint16(10000+i/50000)), unix.AF_INET)
	}
	few := addrSet("10.1.5.1")
	many := map[netip.Addr]struct{}{}
	for i := range fullDumpFrom {
		many[netip.AddrFrom4([4]byte{10, 1, 5, byte(i + 1)})] = struct{}{}
	}
	for name, addrs := range map[string]map[netip.Addr]struct{}{"one address": few, "many addresses, all at once": many} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				n := 0
				if err := table.Dump(b.Context(), addrs, func(Flow) { n++ }); err != nil {
					b.Fatal(err)
				}
				if n != 2*len(addrs) {
					b.Fatalf("found %d entries for %d addresses", n, len(addrs))
				}
			}
		})
	}
	b.Run("delete one", func(b *testing.B) {
		var flows []Flow
		all := map[netip.Addr]struct{}{netip.MustParseAddr("10.2.0.1"): {}}
		if err := table.Dump(b.Context(), all, func(f Flow) { flows = append(flows, f) }); err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			if len(flows) == 0 {
				b.Skip("all entries are deleted")
			}
			if _, err := table.Delete(&flows[0]); err != nil {
				b.Fatal(err)
			}
			flows = flows[1:]
		}
	})
}
