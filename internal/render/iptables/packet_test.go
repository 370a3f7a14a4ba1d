package iptables_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/netpol-agent/netpol-agent/internal/compiler/evaluator"
	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/render/iptables"
	"github.com/netpol-agent/netpol-agent/test/programs"
	"github.com/netpol-agent/netpol-agent/test/testns"
)

// How long a packet may take. One that should pass has time even on a busy machine. One that should not pass is always
// waited for, so the time is short.
const (
	patience     = 10 * time.Second
	disappointed = 200 * time.Millisecond
)

// hosts are the ends of the test's packets: two pods of the node, and a host elsewhere. The node is the router.
var hosts = []string{"a", "b", "far"}

func addr(v6 bool, host string) netip.Addr {
	if host == "node" {
		host = "a.node"
	}
	text, known := map[string][2]string{
		"a": {"10.0.1.2", "fd00:1::2"}, "b": {"10.0.2.2", "fd00:2::2"}, "far": {"10.0.3.2", "fd00:3::2"},
		"a.node": {"10.0.1.1", "fd00:1::1"},
	}[host]
	if !known {
		panic("no host " + host)
	}
	if v6 {
		return netip.MustParseAddr(text[1])
	}
	return netip.MustParseAddr(text[0])
}

// wire connects the hosts to the node and lets them answer.
func wire(t *testing.T, node *testns.NS) map[string]*testns.NS {
	t.Helper()
	node.Sysctl("net/ipv4/ip_forward", "1")
	node.Sysctl("net/ipv6/conf/all/forwarding", "1")
	all := map[string]*testns.NS{"node": node}
	for i, h := range hosts {
		ns := testns.New(t)
		testns.Connect(node, h, ns, "eth0")
		node.Addr(h, fmt.Sprintf("10.0.%d.1/24", i+1))
		node.Addr(h, fmt.Sprintf("fd00:%d::1/64", i+1))
		ns.Addr("eth0", fmt.Sprintf("10.0.%d.2/24", i+1))
		ns.Addr("eth0", fmt.Sprintf("fd00:%d::2/64", i+1))
		ns.Route("0.0.0.0/0", fmt.Sprintf("10.0.%d.1", i+1))
		ns.Route("::/0", fmt.Sprintf("fd00:%d::1", i+1))
		for _, port := range []int{80, 81, 8080} {
			ns.EchoTCP(fmt.Sprintf("[::]:%d", port))
		}
		ns.EchoUDP("[::]:53")
		all[h] = ns
	}
	return all
}

// testProgram returns a program that isolates a in ingress and b in egress.
func testProgram() *program.Program {
	p := program.New()
	both := func(id program.SetID, kind program.SetKind, host string, port uint16) {
		p.Sets[id] = &program.Set{ID: id, Kind: kind, Protocol: program.TCP, Members: map[program.Member]struct{}{
			{Addr: addr(false, host), Port: port}: {}, {Addr: addr(true, host), Port: port}: {},
		}}
	}
	both("clients", program.PodAddrs, "far", 0)
	both("a", program.PodAddrs, "a", 0)
	both("web", program.NamedPorts, "a", 8080)
	tcp := func(first, last uint16) program.Ports {
		return program.Ports{List: []program.Port{{Protocol: program.TCP, First: first, Last: last}}}
	}
	wide := []program.Block{
		{CIDR: netip.MustParsePrefix("0.0.0.0/0"), Except: []netip.Prefix{netip.MustParsePrefix("10.0.3.0/24")}},
		{CIDR: netip.MustParsePrefix("::/0"), Except: []netip.Prefix{netip.MustParsePrefix("fd00:3::/32")}},
	}
	p.Policies[programs.Ref("ns/a")] = &program.Policy{Ref: programs.Ref("ns/a"), Ingress: []program.Rule{
		{Verdict: program.Accept, Peers: program.Peers{Sets: []program.SetID{"clients"}}, Ports: tcp(80, 80)},
		{Verdict: program.Accept, Index: 1, Peers: program.Peers{Blocks: wide}, Ports: program.Ports{List: []program.Port{{Protocol: program.UDP, First: 53, Last: 53}}}},
		{Verdict: program.Accept, Index: 2, Peers: program.Peers{Any: true}, Ports: program.Ports{List: []program.Port{{Protocol: program.TCP, Named: "web"}}}},
	}}
	p.Policies[programs.Ref("ns/b")] = &program.Policy{Ref: programs.Ref("ns/b"), Egress: []program.Rule{
		{Verdict: program.Accept, Peers: program.Peers{Sets: []program.SetID{"a"}}, Ports: tcp(80, 81)},
		{Verdict: program.Accept, Index: 1, Peers: program.Peers{Sets: []program.SetID{"a"}}, Ports: program.Ports{List: []program.Port{{Protocol: program.UDP, First: 0, Last: 65535}}}},
	}}
	programs.Denying(p, "a", program.Ingress, "ns/a")
	programs.Denying(p, "b", program.Egress, "ns/b")
	for _, v6 := range []bool{false, true} {
		p.Locals[addr(v6, "a")] = &program.Local{Pods: []string{"ns/a"}, Ingress: []program.StackID{"a"}}
		p.Locals[addr(v6, "b")] = &program.Local{Pods: []string{"ns/b"}, Egress: []program.StackID{"b"}}
		p.NodeAddrs[addr(v6, "node")] = struct{}{}
	}
	return p
}

// answered reports whether a packet and the answer to it pass. should is what the caller expects.
func answered(t *testing.T, should bool, from *testns.NS, to netip.AddrPort, protocol uint8) bool {
	t.Helper()
	wait := disappointed
	if should {
		wait = patience
	}
	network := "tcp"
	if protocol == program.UDP {
		network = "udp"
	}
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	err := from.Run(func() error {
		c, err := (&net.Dialer{}).DialContext(ctx, network, to.String())
		if err != nil {
			return err
		}
		defer func() { _ = c.Close() }()
		_ = c.SetDeadline(time.Now().Add(wait))
		if _, err := c.Write([]byte("x")); err != nil {
			return err
		}
		_, err = c.Read(make([]byte, 1))
		return err
	})
	return err == nil
}

// TestKernelJudgesPackets sends packets through the rules. The expected verdicts are written down, and the evaluator must
// agree with them.
func TestKernelJudgesPackets(t *testing.T) {
	cases := []struct {
		from, to string
		protocol uint8
		port     uint16
		open     bool
	}{
		{"far", "a", program.TCP, 80, true},
		{"far", "a", program.TCP, 81, false},
		{"far", "a", program.UDP, 53, false}, // excepted
		{"b", "a", program.UDP, 53, true},
		{"b", "a", program.TCP, 80, false},   // egress allows it, ingress does not
		{"b", "a", program.TCP, 8080, false}, // ingress allows it, egress does not
		{"far", "a", program.TCP, 8080, true},
		{"far", "b", program.TCP, 80, true},
		{"a", "far", program.TCP, 80, true},
		{"b", "far", program.TCP, 80, false},
		{"a", "b", program.UDP, 53, true},
		{"node", "a", program.TCP, 81, true},
	}
	eachVariant(t, func(t *testing.T, k inNS) {
		all := wire(t, k.ns)
		p := testProgram()
		r := iptables.New(k, everyTime)
		if _, err := r.Sync(p); err != nil {
			t.Fatal(err)
		}
		for _, c := range cases {
			for _, v6 := range []bool{false, true} {
				pkt := evaluator.Packet{Src: addr(v6, c.from), Dst: addr(v6, c.to), Protocol: c.protocol, DstPort: c.port}
				if got := evaluator.Evaluate(p, pkt).Verdict == program.Accept; got != c.open {
					t.Fatalf("%+v: the evaluator says %v", pkt, got)
				}
				if got := answered(t, c.open, all[c.from], netip.AddrPortFrom(pkt.Dst, c.port), c.protocol); got != c.open {
					t.Errorf("%+v: answered %v, want %v", pkt, got, c.open)
				}
			}
		}
		becomesPeer(t, r, p, all)
	})
}

// becomesPeer makes b a peer of a, which is one member for each family, and takes it out again.
func becomesPeer(t *testing.T, r *iptables.Renderer, p *program.Program, all map[string]*testns.NS) {
	t.Helper()
	for _, in := range []bool{true, false} {
		d := program.NewDelta()
		for _, v6 := range []bool{false, true} {
			m := program.Member{Addr: addr(v6, "b")}
			d.Set("clients")[m] = struct{}{}
			if in {
				p.Sets["clients"].Members[m] = struct{}{}
			} else {
				delete(p.Sets["clients"].Members, m)
			}
		}
		stats, err := r.Apply(p, d)
		if err != nil || stats.Elements != 2 || stats.Ops != 2 {
			t.Fatalf("%+v, %v", stats, err)
		}
		for _, v6 := range []bool{false, true} {
			if got := answered(t, in, all["b"], netip.AddrPortFrom(addr(v6, "a"), 80), program.TCP); got != in {
				t.Errorf("b is a peer: %v; answered %v", in, got)
			}
		}
		noDrift(t, r)
	}
}

// TestKernelChangesUnderTraffic changes chains and sets, and restarts, while new flows arrive. Flows that are allowed
// throughout always pass, and those that are forbidden throughout never do.
func TestKernelChangesUnderTraffic(t *testing.T) {
	eachVariant(t, func(t *testing.T, k inNS) {
		all := wire(t, k.ns)
		p := testProgram()
		r := iptables.New(k, everyTime)
		if _, err := r.Sync(p); err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		var sent, lost, leaked atomic.Int64
		done := make(chan struct{})
		go func() {
			defer close(done)
			for ctx.Err() == nil {
				sent.Add(1)
				// Nobody repeats a datagram, so waiting long hides no loss.
				if !answered(t, true, all["b"], netip.AddrPortFrom(addr(false, "a"), 53), program.UDP) {
					lost.Add(1)
				}
			}
		}()
		leaks := make(chan struct{})
		go func() {
			defer close(leaks)
			leaked.Store(flood(ctx, all["far"], all["a"]))
		}()
		for i := range 40 {
			change(t, p, i)
			d := p.Everything()
			d.Policies[programs.Ref("ns/extra")], d.Sets["extra"] = struct{}{}, map[program.Member]struct{}{}
			d.Stacks["a"] = struct{}{}
			if i%10 == 9 {
				r = iptables.New(k, everyTime)
			}
			if _, err := r.Apply(p, d); err != nil {
				t.Fatal(err)
			}
		}
		stop()
		<-done
		<-leaks
		noDrift(t, r)
		if sent.Load() < 20 || lost.Load() > 0 || leaked.Load() > 0 {
			t.Errorf("%d flows, %d lost; %d packets leaked", sent.Load(), lost.Load(), leaked.Load())
		}
	})
}

// change adds a policy with its own set to what isolates a, or removes it.
func change(t *testing.T, p *program.Program, i int) {
	t.Helper()
	if i%2 == 1 {
		delete(p.Policies, programs.Ref("ns/extra"))
		delete(p.Sets, "extra")
		programs.Denying(p, "a", program.Ingress, "ns/a")
		return
	}
	p.Sets["extra"] = &program.Set{ID: "extra", Members: map[program.Member]struct{}{
		{Addr: netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})}: {}}}
	p.Policies[programs.Ref("ns/extra")] = &program.Policy{Ref: programs.Ref("ns/extra"), Ingress: []program.Rule{
		{Verdict: program.Accept, Peers: program.Peers{Sets: []program.SetID{"extra"}}, Ports: program.Ports{Any: true}}}}
	programs.Denying(p, "a", program.Ingress, "ns/a", "ns/extra")
}

// flood sends datagrams, each a flow of its own, to a port that nobody may reach, until the context ends. It returns the
// number of those that arrived.
func flood(ctx context.Context, from, to *testns.NS) int64 {
	var l net.PacketConn
	if to.Run(func() (err error) { l, err = net.ListenPacket("udp", "10.0.1.2:99"); return err }) != nil {
		return -1
	}
	var arrived atomic.Int64
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		for {
			if _, _, err := l.ReadFrom(make([]byte, 9)); err != nil {
				return
			}
			arrived.Add(1)
		}
	}()
	_ = from.Run(func() error {
		for ctx.Err() == nil {
			if c, err := net.Dial("udp", "10.0.1.2:99"); err == nil {
				_, _ = c.Write([]byte("x"))
				_ = c.Close()
			}
			time.Sleep(200 * time.Microsecond)
		}
		return nil
	})
	_ = l.Close()
	<-heard
	return arrived.Load()
}
