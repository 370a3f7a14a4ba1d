package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netpol-agent/netpol-agent/test/kernel/lab"
)

// traffic is what flows to one pod while policies change: streams that are always permitted, and streams that never
// are. Each datagram carries its stream and its number, so that every missing or unexpected one can be named.
type traffic struct {
	t    testing.TB
	lab  *lab.Lab
	web  netip.Addr
	home *lab.Namespace

	streams []*stream
	stop    chan struct{}
	sending sync.WaitGroup
	// receiving ends when the sockets close.
	receiving sync.WaitGroup
	sockets   []net.PacketConn

	// change is the number of the current change.
	change                        atomic.Int32
	connections, answered, broken atomic.Int64
	firstBroken                   atomic.Value
	syns                          atomic.Int64
}

// stream is datagrams in one direction, without answers. To conntrack each of them opens a connection, so the rules
// judge each.
type stream struct {
	name      string
	permitted bool
	src       netip.Addr
	port      uint16
	// burst is how many datagrams are sent at once, before a pause.
	burst int

	sent atomic.Uint32
	mu   sync.Mutex
	got  map[uint32]int
	// during is the change at which each datagram was sent, arrived the change at which a forbidden one arrived.
	during  []int32
	arrived map[uint32]int32
}

// Ports of the pod that receives.
const (
	openPort  = 9000 // for those that may
	shutPort  = 9002 // for nobody
	echoPort  = 9001
	tcpPort   = 8080
	trailTime = 2 * time.Second
)

// newTraffic returns the streams of a world whose base is swapBase.
func newTraffic(t testing.TB, w *world) *traffic {
	t.Helper()
	tr := &traffic{t: t, lab: w.lab, stop: make(chan struct{}), web: netip.MustParseAddr("10.244.1.10")}
	tr.home = w.lab.Home(tr.web)
	client, rogue := netip.MustParseAddr("10.244.1.12"), netip.MustParseAddr("10.244.1.14")
	far, stranger := netip.MustParseAddr("10.244.2.10"), netip.MustParseAddr("192.0.2.10")
	const some, many = 4, 12
	tr.streams = []*stream{
		{name: "a pod of this node", permitted: true, src: client, port: openPort, burst: some},
		{name: "a pod of another node", permitted: true, src: far, port: openPort, burst: some},
		{name: "a forbidden pod of this node", src: rogue, port: openPort, burst: many},
		{name: "a forbidden address", src: stranger, port: openPort, burst: many},
		{name: "an allowed pod to a forbidden port", src: client, port: shutPort, burst: some},
	}
	for i, s := range tr.streams {
		s.got, s.arrived = map[uint32]int{}, map[uint32]int32{}
		w.lab.Home(s.src)
		// The bridge and the neighbours learn each other's addresses before anything counts.
		if i < 2 {
			w.probe(t.(*testing.T), allow(s.src.String(), tr.web.String(), "tcp/"+strconv.Itoa(tcpPort)))
		}
	}
	// Forbidden packets for which no socket is open are counted where they enter the pod.
	tr.home.NFT(t, fmt.Sprintf(`
table inet count {
	counter leaked {
	}
	chain in {
		type filter hook prerouting priority -400
		ip saddr { %s, %s } meta l4proto { tcp, udp } counter name leaked
	}
}
`, rogue, stranger))
	tr.receive(openPort)
	tr.receive(shutPort)
	for _, protocol := range []uint8{lab.TCP, lab.UDP} {
		port := map[uint8]uint16{lab.TCP: tcpPort, lab.UDP: echoPort}[protocol]
		if err := w.lab.Serve(protocol, netip.AddrPortFrom(tr.web, port)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range tr.streams {
		tr.sending.Go(func() { tr.send(i) })
	}
	tr.sending.Go(func() { tr.talk(client) })
	tr.sending.Go(func() { tr.connect(client) })
	tr.sending.Go(func() { tr.connect(far) })
	tr.sending.Go(func() { tr.knock(rogue) })
	return tr
}

func (tr *traffic) ended() bool {
	select {
	case <-tr.stop:
		return true
	default:
		return false
	}
}

// receive reads datagrams at a port of the pod.
func (tr *traffic) receive(port uint16) {
	tr.t.Helper()
	var conn *net.UDPConn
	err := tr.home.Do(func() (err error) {
		conn, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(tr.web, port)))
		return err
	})
	if err == nil {
		err = forceBuffer(conn, 64<<20)
	}
	if err != nil {
		tr.t.Fatal(err)
	}
	tr.sockets = append(tr.sockets, conn)
	tr.receiving.Go(func() {
		buf := make([]byte, 64)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			if n < 8 {
				continue
			}
			s := tr.streams[binary.BigEndian.Uint32(buf)]
			s.mu.Lock()
			number := binary.BigEndian.Uint32(buf[4:])
			s.got[number]++
			if !s.permitted {
				s.arrived[number] = tr.change.Load()
			}
			s.mu.Unlock()
		}
	})
}

func forceBuffer(conn *net.UDPConn, bytes int) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	ctlErr := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, bytes) })
	return errors.Join(ctlErr, err)
}

// send sends a stream.
func (tr *traffic) send(i int) {
	s := tr.streams[i]
	conn, err := tr.lab.Dial(context.Background(), lab.UDP, netip.AddrPortFrom(s.src, tr.lab.ID()), netip.AddrPortFrom(tr.web, s.port))
	if err != nil {
		tr.t.Errorf("stream from %s: %v", s.name, err)
		return
	}
	defer func() { _ = conn.Close() }()
	b := make([]byte, 8)
	binary.BigEndian.PutUint32(b, uint32(i))
	for !tr.ended() {
		for range s.burst {
			binary.BigEndian.PutUint32(b[4:], s.sent.Load())
			if _, err := conn.Write(b); err != nil {
				tr.t.Errorf("stream from %s: %v", s.name, err)
				return
			}
			s.sent.Add(1)
			s.during = append(s.during, tr.change.Load())
		}
		time.Sleep(200 * time.Microsecond)
	}
}

// talk sends a request and waits for the answer, over and over in one flow.
func (tr *traffic) talk(client netip.Addr) {
	conn, err := tr.lab.Dial(context.Background(), lab.UDP, netip.AddrPortFrom(client, tr.lab.ID()), netip.AddrPortFrom(tr.web, echoPort))
	if err != nil {
		tr.t.Errorf("pings: %v", err)
		return
	}
	defer func() { _ = conn.Close() }()
	for !tr.ended() {
		ctx, cancel := context.WithTimeout(context.Background(), trailTime)
		err := lab.Ping(ctx, conn)
		cancel()
		tr.note(fmt.Sprintf("ping %d", tr.answered.Add(1)), err)
		time.Sleep(200 * time.Microsecond)
	}
}

// connect opens one TCP connection after another. The kernel repeats a lost packet, so a retransmission counts as a
// loss.
func (tr *traffic) connect(client netip.Addr) {
	for !tr.ended() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		err := tr.connectOnce(ctx, client)
		cancel()
		tr.note(fmt.Sprintf("connection %d from %s", tr.connections.Add(1), client), err)
		time.Sleep(500 * time.Microsecond)
	}
}

func (tr *traffic) connectOnce(ctx context.Context, client netip.Addr) error {
	conn, err := tr.lab.Dial(ctx, lab.TCP, netip.AddrPortFrom(client, 0), netip.AddrPortFrom(tr.web, tcpPort))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if err := lab.Ping(ctx, conn); err != nil {
		return err
	}
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return err
	}
	var info *unix.TCPInfo
	if ctlErr := raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) }); err == nil {
		err = ctlErr
	}
	if err == nil && info.Total_retrans > 0 {
		err = fmt.Errorf("%d retransmissions", info.Total_retrans)
	}
	return err
}

// knock sends packets that open a TCP connection from where none is allowed.
func (tr *traffic) knock(rogue netip.Addr) {
	injector := tr.lab.Injector(tr.lab.Home(rogue))
	for !tr.ended() {
		p := lab.Packet{Src: rogue, Dst: tr.web, Protocol: lab.TCP, SrcPort: uint16(20000 + tr.syns.Load()%20000), DstPort: tcpPort}
		if err := injector.Send(p); err != nil {
			tr.t.Errorf("%s: %v", p, err)
			return
		}
		tr.syns.Add(1)
		time.Sleep(200 * time.Microsecond)
	}
}

func (tr *traffic) note(what string, err error) {
	if err != nil {
		tr.broken.Add(1)
		tr.firstBroken.CompareAndSwap(nil, fmt.Sprintf("%s: %v", what, err))
	}
}

// report is what happened to all packets.
type report struct {
	// lost and leaked count permitted datagrams that did not arrive and forbidden ones that did; broken counts permitted
	// exchanges that failed or had to repeat a packet.
	lost, leaked, broken int
	text                 string
}

// end stops all senders, waits for packets in flight, and counts.
func (tr *traffic) end() report {
	tr.t.Helper()
	close(tr.stop)
	tr.sending.Wait()
	for deadline := time.Now().Add(trailTime); tr.missing() > 0 && time.Now().Before(deadline); {
		time.Sleep(5 * time.Millisecond)
	}
	for _, c := range tr.sockets {
		_ = c.Close()
	}
	tr.receiving.Wait()
	r := report{broken: int(tr.broken.Load()), leaked: tr.counted()}
	for _, s := range tr.streams {
		r.add(s)
	}
	r.text += fmt.Sprintf("%d pings, %d TCP connections, %d broken", tr.answered.Load(), tr.connections.Load(), r.broken)
	if first := tr.firstBroken.Load(); first != nil {
		r.text += fmt.Sprintf(", first: %v", first)
	}
	r.text += fmt.Sprintf("\n%d forbidden SYNs sent; %d packets of forbidden sources entered the pod\n", tr.syns.Load(), tr.counted())
	return r
}

func (r *report) add(s *stream) {
	sent, unique := s.sent.Load(), len(s.got)
	r.text += fmt.Sprintf("stream from %s: permitted %t, sent %d, received %d", s.name, s.permitted, sent, unique)
	if s.permitted {
		for n := range sent {
			if s.got[n] == 0 {
				if r.lost++; r.lost <= 10 {
					r.text += fmt.Sprintf(", lost %d (change %d)", n, s.during[n])
				}
			}
		}
	} else {
		r.leaked += unique
		for n := range s.got {
			r.text += fmt.Sprintf(", leaked %d (sent at change %d, arrived at %d)", n, s.during[n], s.arrived[n])
		}
	}
	r.text += "\n"
}

// missing counts permitted datagrams that have not arrived yet.
func (tr *traffic) missing() int {
	n := 0
	for _, s := range tr.streams {
		if s.permitted {
			s.mu.Lock()
			n += int(s.sent.Load()) - len(s.got)
			s.mu.Unlock()
		}
	}
	return n
}

var packetsCounted = regexp.MustCompile(`packets (\d+)`)

func (tr *traffic) counted() int {
	tr.t.Helper()
	out, err := tr.home.Command("", "nft", "list", "counters", "table", "inet", "count")
	m := packetsCounted.FindStringSubmatch(out)
	if err != nil || m == nil {
		tr.t.Fatalf("read the pod's counter: %v\n%s", err, out)
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		tr.t.Fatal(err)
	}
	return n
}
