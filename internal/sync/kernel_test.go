package sync

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/netpol-agent/netpol-agent/internal/compiler"
	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/conntrack"
	"github.com/netpol-agent/netpol-agent/internal/render/nft"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/kernel"
	"github.com/netpol-agent/netpol-agent/internal/sync/engine"
	"github.com/netpol-agent/netpol-agent/internal/sync/node"
	"github.com/netpol-agent/netpol-agent/internal/sync/report"
	"github.com/netpol-agent/netpol-agent/internal/wait"
	"github.com/netpol-agent/netpol-agent/test/agenttest"
	"github.com/netpol-agent/netpol-agent/test/testns"
)

const (
	clientIP = "10.88.0.2"
	serverIP = "10.88.0.3"
	call4    = "net/bridge/bridge-nf-call-iptables"
)

// machine is a node with two pods on one bridge, and the engine with everything real below it.
type machine struct {
	node, client, server *testns.NS
	queue                *engine.Queue
	health               *report.Health
	engine               *engine.Engine
	cut                  chan int
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	m := &machine{node: testns.New(t), client: testns.New(t), server: testns.New(t), queue: engine.NewQueue(),
		health: report.NewHealth(0), cut: make(chan int, 100)}
	testns.Connect(m.client, "eth0", m.node, "veth-c")
	testns.Connect(m.server, "eth0", m.node, "veth-s")
	m.node.Bridge("cni0", "veth-c", "veth-s")
	m.node.Addr("cni0", "10.88.0.1/24")
	m.client.Addr("eth0", clientIP+"/24")
	m.server.Addr("eth0", serverIP+"/24")
	m.node.Sysctl("net/ipv4/ip_forward", "1")
	m.node.Sysctl(call4, "0")

	conn, err := kernel.Open(kernel.WithNetNS(m.node.FD()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	table, err := conntrack.Open(conntrack.WithNetNS(m.node.FD()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = table.Close() })
	var cutter *conntrack.Cutter
	m.engine = engine.New(engine.Config{
		NewCompiler: func() engine.Compiler { return compiler.New(compiler.Options{Node: agenttest.Node}) },
		Backend:     nft.New(conn, nft.Options{}), Queue: m.queue, Health: m.health,
		Metrics: report.NewMetrics("test", m.queue.Len, m.health), Log: agenttest.Quiet(), Drift: 100 * time.Millisecond,
		Hooks: engine.Hooks{Committed: func(p *program.Program, c engine.Change) { cutter.Look(c.Tightened(p)) }},
	})
	cutter = conntrack.NewCutter(table, m.engine.Forbidden, conntrack.Observer{
		Passed: func(_, cut int, _ time.Duration, err error) {
			if err != nil {
				t.Errorf("cutting: %v", err)
			}
			m.cut <- cut
		},
	}, agenttest.Quiet())
	m.start(t, m.engine.Run, cutter.Run)
	return m
}

func (m *machine) start(t *testing.T, loops ...func(context.Context)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	for _, loop := range loops {
		go func() {
			loop(ctx)
			done <- struct{}{}
		}()
	}
	t.Cleanup(func() {
		cancel()
		for range loops {
			<-done
		}
	})
}

// put sends updates and waits until it is in the kernel.
func (m *machine) put(t *testing.T, objs ...any) {
	t.Helper()
	for _, o := range objs {
		m.queue.Put(agenttest.Update(t, o))
	}
	agenttest.Eventually(t, "committed", func() bool {
		waiting, s := m.queue.Len(), &report.Status{}
		if err := m.engine.Fill(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		return waiting+s.Pending == 0 && len(m.health.NotReady()) == 0
	})
}

// speak sends a word and reports whether it comes back within a second.
func speak(c net.Conn) bool {
	_ = c.SetDeadline(time.Now().Add(time.Second))
	buf := make([]byte, 4)
	if _, err := c.Write([]byte("word")); err != nil {
		return false
	}
	_, err := io.ReadFull(c, buf)
	return err == nil
}

func (m *machine) begin(t *testing.T) {
	t.Helper()
	check := node.NewBridgeCheck(agenttest.Quiet())
	if err := m.node.Run(func() error { return check.Check([]netip.Addr{agenttest.Addr(clientIP), agenttest.Addr(serverIP)}) }); err != nil {
		t.Fatal(err)
	}
	m.health.Starting("")
	m.queue.Put(agenttest.Update(t, []netip.Addr{agenttest.Addr("10.88.0.1")}))
	m.queue.Put(agenttest.Update(t, agenttest.Pod("client", agenttest.Node, clientIP, map[string]string{"app": "client"})))
	m.queue.Put(agenttest.Update(t, agenttest.Pod("server", agenttest.Node, serverIP, map[string]string{"app": "server"})))
	m.engine.MarkSynced()
	m.put(t)
}

// cuts waits for the next pass over the live connections and returns how many were cut.
func (m *machine) cuts(t *testing.T) int {
	t.Helper()
	select {
	case n := <-m.cut:
		return n
	case <-time.After(10 * time.Second):
		t.Fatal("nobody looked at the live connections")
		return 0
	}
}

func TestKernelAPolicyChangeCutsWhatItForbidsAndNothingElse(t *testing.T) {
	m := newMachine(t)
	m.begin(t)
	conns := map[string]net.Conn{}
	for _, port := range []string{"80", "81"} {
		m.server.EchoTCP(":" + port)
		m.server.EchoUDP(":" + port)
		conns["tcp "+port] = m.client.Dial("tcp", serverIP+":"+port)
		conns["udp "+port] = m.client.Dial("udp", serverIP+":"+port)
	}
	expect := func(when string, ports ...string) {
		t.Helper()
		for name, c := range conns {
			want := false
			for _, p := range ports {
				want = want || name == "tcp "+p || name == "udp "+p
			}
			if got := speak(c); got != want {
				t.Errorf("%s: %s passes: %t, want %t", when, name, got, want)
			}
		}
	}
	expect("open", "80", "81")

	m.put(t, agenttest.OnlyPort(81))
	if n := m.cuts(t); n != 2 {
		t.Errorf("cut %d connections, want TCP and UDP on port 80", n)
	}
	expect("only 81", "81")
	expect("still only 81", "81")

	m.put(t, agenttest.OnlyPort(80))
	if n := m.cuts(t); n != 2 {
		t.Errorf("cut %d connections, want TCP and UDP on port 81", n)
	}
	if speak(conns["tcp 81"]) || speak(conns["udp 81"]) {
		t.Error("port 81 is no longer allowed")
	}
	if !speak(conns["udp 80"]) {
		t.Error("UDP on port 80 is allowed again")
	}
	if c := m.client.Dial("tcp", serverIP+":80"); !speak(c) {
		t.Error("a new TCP connection to port 80 is allowed")
	}
}

// TestKernelACutConnectionDoesNotComeBackThroughItsReplies: the server goes on sending.
func TestKernelACutConnectionDoesNotComeBackThroughItsReplies(t *testing.T) {
	m := newMachine(t)
	m.begin(t)
	var l net.Listener
	if err := m.server.Run(func() (err error) { l, err = net.Listen("tcp", ":80"); return err }); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	client := m.client.Dial("tcp", serverIP+":80")
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Close() }()
	received := func(from, to net.Conn) bool {
		_, _ = from.Write([]byte("x"))
		_ = to.SetReadDeadline(time.Now().Add(700 * time.Millisecond))
		_, err := to.Read(make([]byte, 100))
		return !errors.Is(err, os.ErrDeadlineExceeded)
	}
	if !received(client, server) || !received(server, client) {
		t.Fatal("the connection does not work")
	}
	m.put(t, agenttest.OnlyPort(81))
	if n := m.cuts(t); n != 1 {
		t.Fatalf("cut %d", n)
	}
	for range 2 {
		if received(server, client) {
			t.Error("the server's packets arrive")
		}
		if received(client, server) {
			t.Error("the client's packets arrive")
		}
	}
}

func TestKernelForeignChangesAreRepaired(t *testing.T) {
	m := newMachine(t)
	m.begin(t)
	m.server.EchoUDP(":80")
	m.put(t, agenttest.OnlyPort(81))
	c := m.client.Dial("udp", serverIP+":80")
	if speak(c) {
		t.Fatal("port 80 is open")
	}
	other, err := kernel.Open(kernel.WithNetNS(m.node.FD()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	if _, err := nft.Cleanup(other, false); err != nil {
		t.Fatal(err)
	}
	agenttest.Eventually(t, "the rules are back and the new connection is cut", func() bool { return !speak(c) })
}

func readSysctl(path string) (string, error) {
	b, err := os.ReadFile("/proc/sys/" + path)
	return strings.TrimSpace(string(b)), err
}

func TestKernelBridgeCheck(t *testing.T) {
	m := newMachine(t)
	check := node.NewBridgeCheck(agenttest.Quiet())
	run := func(addrs ...netip.Addr) error {
		return m.node.Run(func() error { return check.Check(addrs) })
	}
	setting := func() string {
		var v string
		if err := m.node.Run(func() (err error) { v, err = readSysctl(call4); return err }); err != nil {
			t.Fatal(err)
		}
		return v
	}
	if err := run(agenttest.Addr("192.0.2.77")); err != nil || setting() != "0" {
		t.Errorf("no pod is on a bridge: %v, setting %s", err, setting())
	}
	// After a restart of the machine the API still lists earlier pods. The default route may go over a bridge whose other
	// ports are none of our business.
	m.node.Route("0.0.0.0/0", "10.88.0.254")
	if err := run(agenttest.Addr("192.0.2.77")); err != nil || setting() != "0" || len(check.Bridges()) > 0 {
		t.Errorf("a pod that is not there: %v, setting %s, bridges %v", err, setting(), check.Bridges())
	}
	if err := run(agenttest.Addr(clientIP)); err != nil || setting() != "1" || !slices.Equal(check.Bridges(), []string{"cni0"}) {
		t.Errorf("a pod is on a bridge: %v, setting %s, bridges %v", err, setting(), check.Bridges())
	}
	// Somebody switches it off again.
	m.node.Sysctl(call4, "0")
	if err := run(agenttest.Addr(clientIP)); err != nil || setting() != "1" {
		t.Errorf("switched off by somebody: %v, setting %s", err, setting())
	}
}

// TestKernelUDPThatTalksAllTheTimeStaysCut: with answers in flight at every moment, a mere deletion of the connection
// would let it come back as one of the server's. Each datagram carries its number, because the server may read one long
// after it arrived.
func TestKernelUDPThatTalksAllTheTimeStaysCut(t *testing.T) {
	m := newMachine(t)
	m.begin(t)
	var s net.PacketConn
	if err := m.server.Run(func() (err error) { s, err = net.ListenPacket("udp", ":80"); return err }); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	var sent, arrived atomic.Uint64 // the number of the last datagram
	go func() {
		buf := make([]byte, 100)
		for {
			n, from, err := s.ReadFrom(buf)
			if err != nil {
				return
			}
			arrived.Store(binary.BigEndian.Uint64(buf[:n]))
			answer := slices.Clone(buf[:n])
			time.AfterFunc(5*time.Millisecond, func() { _, _ = s.WriteTo(answer, from) })
		}
	}()
	client := m.client.Dial("udp", serverIP+":80")
	ctx := t.Context()
	go func() {
		for wait.Sleep(ctx, 2*time.Millisecond) {
			_, _ = client.Write(binary.BigEndian.AppendUint64(nil, sent.Add(1)))
		}
	}()
	agenttest.Eventually(t, "packets arrive", func() bool { return arrived.Load() > 20 })
	m.put(t, agenttest.OnlyPort(81))
	if n := m.cuts(t); n != 1 {
		t.Errorf("cut %d", n)
	}
	last := sent.Load()
	agenttest.Eventually(t, "the client went on", func() bool { return sent.Load() > last+200 })
	if n := arrived.Load(); n > last {
		t.Errorf("datagram %d arrived, %d was the last before the cut", n, last)
	}
}
