package kernel

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netpol-agent/netpol-agent/internal/compiler/evaluator"
	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/conntrack"
	"github.com/netpol-agent/netpol-agent/test/kernel/lab"
)

// dial opens a connection that is closed when the test ends.
func (w *world) dial(t *testing.T, protocol uint8, from netip.Addr, to netip.AddrPort) net.Conn {
	t.Helper()
	w.lab.Home(from)
	w.lab.Home(to.Addr())
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, err := w.lab.Dial(ctx, protocol, netip.AddrPortFrom(from, w.lab.ID()), to)
	if err != nil {
		t.Fatalf("%s to %s, protocol %d: %v", from, to, protocol, err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// TestKernelICMPErrors shows that ICMP errors about an allowed connection reach a pod that accepts no connection, and
// that no other ICMP errors do.
func TestKernelICMPErrors(t *testing.T) {
	w := newWorld(t)
	w.begin(t, policy("shop/p", `
podSelector: {matchLabels: {app: client}}
policyTypes: [Ingress, Egress]
egress:
- to: [{podSelector: {}}, {ipBlock: {cidr: 198.51.100.0/24}}, {ipBlock: {cidr: "2001:db8:51::/64"}}]
  ports: [{protocol: UDP}]`)+policy("shop/q", "podSelector: {matchLabels: {app: web}}\npolicyTypes: [Ingress, Egress]\ningress: [{}]"))
	for i := range 2 {
		client := w.end(t, "shop/client")[i]
		for _, to := range []string{"shop/web", "shop/far"} {
			conn := w.dial(t, lab.UDP, client, netip.AddrPortFrom(w.end(t, to)[i], 9))
			if _, err := conn.Write([]byte("is anybody there")); err != nil {
				t.Fatal(err)
			}
			_ = conn.SetReadDeadline(time.Now().Add(patience))
			if _, err := conn.Read(make([]byte, 10)); !errors.Is(err, unix.ECONNREFUSED) {
				t.Errorf("%s to %s: no port unreachable came back: %v", client, to, err)
			}
		}
		w.pathMTU(t, client, i)
		// Errors about no connection, and about one that is not allowed.
		for _, from := range []string{"internet", "shop/api"} {
			denied := lab.Packet{Src: client, Dst: w.end(t, from)[i], Protocol: lab.TCP, SrcPort: 40000, DstPort: 80}
			forged := lab.Packet{Src: w.end(t, from)[i], Dst: client, Protocol: lab.ICMP, Type: 3, Code: 3, Payload: denied.Bytes()}
			if client.Is6() {
				forged.Protocol, forged.Type, forged.Code = lab.ICMPv6, 1, 4
			}
			w.inject(t, forged, false)
		}
	}
}

// pathMTU checks that a pod learns that its packets are too long for a network behind a router.
func (w *world) pathMTU(t *testing.T, client netip.Addr, i int) {
	t.Helper()
	beyond := netip.AddrPortFrom(lab.Narrow[i].Addr().Next(), 9)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, err := w.lab.Dial(ctx, lab.UDP, netip.AddrPortFrom(client, w.lab.ID()), beyond)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	level, discover, mtu, do := unix.SOL_IP, unix.IP_MTU_DISCOVER, unix.IP_MTU, unix.IP_PMTUDISC_DO
	if client.Is6() {
		level, discover, mtu, do = unix.SOL_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_MTU, unix.IPV6_PMTUDISC_DO
	}
	_ = raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), level, discover, do) })
	if err != nil {
		t.Fatal(err)
	}
	for got := 0; got != lab.NarrowMTU; {
		if ctx.Err() != nil {
			t.Errorf("%s to %s: path MTU is still %d", client, beyond, got)
			return
		}
		_, _ = conn.Write(make([]byte, 1400)) // fails once the MTU is known
		_ = raw.Control(func(fd uintptr) { got, err = unix.GetsockoptInt(int(fd), level, mtu) })
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// cutter cuts what the agent's program forbids.
type cutter struct {
	agent  *agent
	cutter *conntrack.Cutter
	passed chan error
}

func (w *world) cutter(t *testing.T) *cutter {
	t.Helper()
	table, err := conntrack.Open(conntrack.WithNetNS(w.lab.Node.FD()))
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{agent: w.agent, passed: make(chan error, 1)}
	observer := conntrack.Observer{Passed: func(_, _ int, _ time.Duration, err error) { c.passed <- err }}
	c.cutter = conntrack.NewCutter(table, c.judge, observer, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.cutter.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
		_ = table.Close()
	})
	return c
}

func (c *cutter) judge(_ context.Context, flows []conntrack.Flow) ([]conntrack.Flow, error) {
	var out []conntrack.Flow
	for _, f := range flows {
		conn := f.Connection()
		res := evaluator.Evaluate(c.agent.comp.Program(), evaluator.Packet{
			Src: conn.Src, Dst: conn.Dst, Protocol: conn.Protocol, DstPort: conn.DstPort, ICMPv6Type: conn.ICMPType,
		})
		if res.Verdict != program.Accept {
			out = append(out, f)
		}
	}
	return out, nil
}

// cut checks the connections of all of the node's pods.
func (c *cutter) cut(t *testing.T) {
	t.Helper()
	c.cutter.Look(maps.Keys(c.agent.comp.Program().Locals))
	select {
	case err := <-c.passed:
		if err != nil {
			t.Fatalf("cut: %v", err)
		}
	case <-time.After(patience):
		t.Fatal("cut: there was no pass")
	}
}

// live is a connection that a policy change leaves alone or forbids.
type live struct {
	probe
	flow
	conn net.Conn
}

// TestKernelExistingConnections shows that a change cuts the connections that it forbids, in the reply direction too,
// and does not disturb the others.
func TestKernelExistingConnections(t *testing.T) {
	w := newWorld(t)
	const spec = "podSelector: {matchLabels: {app: web}}\ningress: [{from: [{podSelector: {matchLabels: {app: client}}}], ports: "
	w.begin(t, policy("shop/in", spec+"[{port: 80}, {port: 81}, {port: 53, protocol: UDP}, {port: 54, protocol: UDP}]}]"))
	c := w.cutter(t)
	var conns []live
	for _, p := range []probe{
		allow("shop/client", "shop/web", "tcp/80"), allow("shop/far", "shop/web", "tcp/80"), allow("shop/client", "shop/web", "udp/53"),
		deny("shop/client", "shop/web", "tcp/81"), deny("shop/far", "shop/web", "tcp/81"), deny("shop/client", "shop/web", "udp/54"),
	} {
		for _, f := range w.flows(t, p) {
			if err := w.lab.Serve(f.protocol, f.dst); err != nil {
				t.Fatal(err)
			}
			conn := w.dial(t, f.protocol, f.src.Addr(), f.dst)
			f.src = netip.MustParseAddrPort(conn.LocalAddr().String())
			conns = append(conns, live{p, f, conn})
			if err := lab.Ping(t.Context(), conn); err != nil {
				t.Fatalf("%s: before the change: %v", f, err)
			}
		}
	}
	w.tell(policy("shop/in", spec+"[{port: 80}, {port: 53, protocol: UDP}]}]"))
	w.commit()
	c.cut(t)
	w.witness.Reset()
	var wg sync.WaitGroup
	for _, l := range conns {
		wg.Go(func() { w.stillLives(t, l) })
	}
	wg.Wait()
}

// stillLives sends over a connection that existed before a change.
func (w *world) stillLives(t *testing.T, l live) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if l.flow.pass {
		for range 5 {
			if err := lab.Ping(ctx, l.conn); err != nil {
				t.Errorf("%s: disturbed: %v", l.flow, err)
				return
			}
		}
		return
	}
	sending, stop := context.WithCancel(ctx)
	defer stop()
	go func() { _ = lab.Ping(sending, l.conn) }()
	if s, err := w.witness.Await(ctx, 1, l.is); err != nil || s.After > 0 {
		t.Errorf("%s: not cut: seen %+v, %v", l.flow, s, err)
	}
}

// TestKernelRevokedFlowStaysShut shows that a connection that was cut does not come back through its replies: the
// server, which may open connections to the client, goes on sending.
func TestKernelRevokedFlowStaysShut(t *testing.T) {
	w := newWorld(t)
	objects := policy("shop/in", "podSelector: {matchLabels: {app: web}}\ningress: [{from: [{podSelector: {matchLabels: {app: client}}}]}]")
	for _, protocol := range []uint8{lab.TCP, lab.UDP} {
		for i, name := range []string{"IPv4", "IPv6"} {
			t.Run(map[uint8]string{lab.TCP: "TCP ", lab.UDP: "UDP "}[protocol]+name, func(t *testing.T) {
				w.begin(t, objects)
				c := w.cutter(t)
				client, server := w.end(t, "shop/client")[i], netip.AddrPortFrom(w.end(t, "shop/web")[i], 700+uint16(protocol))
				sent := w.talker(t, protocol, server)
				conn := w.dial(t, protocol, client, server)
				received := count(conn)
				waitFor(t, "the server's first words", func() bool { return received.Load() > 3 })
				w.tell(policy("shop/in", "podSelector: {matchLabels: {app: web}}"))
				w.commit()
				c.cut(t)
				time.Sleep(50 * time.Millisecond) // lets packets in flight at the cut arrive
				w.witness.Reset()
				before, after := received.Load(), sent.Load()+20
				waitFor(t, "the server to go on", func() bool { return sent.Load() > after })
				if n := received.Load() - before; n > 0 {
					t.Errorf("%d messages arrived after the cut", n)
				}
				back := func(p *lab.Packet) bool { return p.Src == server.Addr() && p.SrcPort == server.Port() }
				if s, err := w.witness.Count(back); err != nil || s.After > 0 {
					t.Errorf("the server's packets: seen %+v, %v", s, err)
				}
				// A new connection is as forbidden as the old one, and the server may still open connections to the client.
				w.probe(t, deny("shop/client", "shop/web", "tcp/80"), allow("shop/web", "shop/client", "udp/80"))
			})
		}
	}
}

// talker serves at an address and talks without end to whoever has said something or connected. It counts what it has
// sent.
func (w *world) talker(t *testing.T, protocol uint8, at netip.AddrPort) *atomic.Int64 {
	t.Helper()
	var sent atomic.Int64
	w.attach()
	var ln net.Listener
	var udp *net.UDPConn
	err := w.lab.Home(at.Addr()).Do(func() (err error) {
		if protocol == lab.UDP {
			udp, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
			return err
		}
		ln, err = (&net.ListenConfig{}).Listen(context.Background(), "tcp", at.String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var running sync.WaitGroup
	talk := func(write func() error) {
		for write() == nil {
			sent.Add(1)
			select {
			case <-done:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}
	running.Go(func() {
		if udp != nil {
			_, to, err := udp.ReadFromUDPAddrPort(make([]byte, 10))
			if err == nil {
				talk(func() error { _, err := udp.WriteToUDPAddrPort([]byte("more"), to); return err })
			}
			return
		}
		conn, err := ln.Accept()
		if err == nil {
			talk(func() error { _, err := conn.Write([]byte("more")); return err })
			_ = conn.Close()
		}
	})
	t.Cleanup(func() {
		close(done)
		if udp != nil {
			_ = udp.Close()
		} else {
			_ = ln.Close()
		}
		running.Wait()
	})
	return &sent
}

// count says hello and counts what arrives over a connection.
func count(conn net.Conn) *atomic.Int64 {
	var n atomic.Int64
	_, _ = conn.Write([]byte("hello"))
	go func() {
		buf := make([]byte, 1500)
		for {
			if _, err := conn.Read(buf); err != nil {
				return
			}
			n.Add(1)
		}
	}()
	return &n
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timed out waiting for %s", what)
		}
	}
}

// TestKernelMidStream shows that TCP packets from the middle of an unknown connection open none to or from an isolated
// pod, even if the connection would be allowed.
func TestKernelMidStream(t *testing.T) {
	w := newWorld(t)
	w.begin(t, policy("shop/in", "podSelector: {matchLabels: {app: web}}\ningress: [{}]")+policy("blog/out", "podSelector: {matchLabels: {app: web}}\npolicyTypes: [Egress]\negress: [{}]"))
	for i := range 2 {
		client, open := w.end(t, "shop/client")[i], w.end(t, "shop/api")[i]
		for _, name := range []string{"shop/web", "blog/web"} {
			isolated := w.end(t, name)[i]
			w.middle(t, lab.Packet{Src: client, Dst: isolated, Flags: lab.ACK}, false)
			w.middle(t, lab.Packet{Src: isolated, Dst: client, Flags: lab.ACK | lab.PSH}, false)
			w.middle(t, lab.Packet{Src: hosts["internet"][i], Dst: isolated, Flags: lab.SYN | lab.ACK}, false)
			w.middle(t, lab.Packet{Src: client, Dst: isolated, Flags: lab.SYN}, true)
			w.middle(t, lab.Packet{Src: isolated, Dst: client, Flags: lab.SYN}, true)
		}
		w.middle(t, lab.Packet{Src: client, Dst: open, Flags: lab.ACK}, true)
	}
}

func (w *world) middle(t *testing.T, p lab.Packet, pass bool) {
	t.Helper()
	w.lab.Node.FlushConntrack(t)
	p.Protocol, p.SrcPort, p.DstPort, p.ID = lab.TCP, w.lab.ID(), 80, w.lab.ID()
	if err := w.lab.Home(p.Src).Inject(p); err != nil {
		t.Fatal(err)
	}
	s, err := w.witness.Await(t.Context(), 1, func(seen *lab.Packet) bool { return seen.ID == p.ID && seen.Src == p.Src })
	if err != nil || (s.After > 0) != pass {
		t.Errorf("%s, flags %#x: must pass: %t, seen %+v, %v", p, p.Flags, pass, s, err)
	}
}
