package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"
)

// Exchange opens a new flow from src to dst and returns nil once data has gone both ways: a line and its echo over TCP
// or UDP, INIT and INIT ACK of SCTP, echo request and reply of ICMP and ICMPv6. Except for ICMP, Serve must have been
// called for dst. The source port, or the identifier of the echo, is src's.
func (l *Lab) Exchange(ctx context.Context, protocol uint8, src, dst netip.AddrPort) error {
	switch protocol {
	case TCP, UDP:
		conn, err := l.Dial(ctx, protocol, src, dst)
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }()
		return Ping(ctx, conn)
	case ICMP, ICMPv6:
		request := Packet{Src: src.Addr(), Dst: dst.Addr(), Protocol: protocol, Type: 8, SrcPort: src.Port(), Payload: []byte("echo")}
		reply := uint8(0)
		if protocol == ICMPv6 {
			request.Type, reply = 128, 129
		}
		return l.rawExchange(ctx, request, func(p *Packet) bool { return p.Type == reply && p.SrcPort == src.Port() })
	case SCTP:
		request := Packet{Src: src.Addr(), Dst: dst.Addr(), Protocol: SCTP, SrcPort: src.Port(), DstPort: dst.Port(), Chunk: 1}
		return l.rawExchange(ctx, request, func(p *Packet) bool { return p.Chunk == 2 && p.DstPort == src.Port() })
	}
	return fmt.Errorf("no exchange over protocol %d", protocol)
}

// Dial opens a TCP connection or a connected UDP socket in the namespace that has src. The caller closes it.
func (l *Lab) Dial(ctx context.Context, protocol uint8, src, dst netip.AddrPort) (net.Conn, error) {
	home := l.Home(src.Addr())
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(src)}
	d.SetMultipathTCP(false)
	name := "tcp"
	if protocol == UDP {
		d.LocalAddr, name = net.UDPAddrFromAddrPort(src), "udp"
	}
	var conn net.Conn
	err := home.Do(func() (err error) {
		conn, err = d.DialContext(ctx, name, dst.String())
		return err
	})
	if err != nil {
		return nil, err
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		// A connection that is cut must not disturb the next test with retransmissions.
		_ = tcp.SetLinger(0)
	}
	return conn, nil
}

// Ping sends a line over a connection to a server that Serve started and waits for its echo.
func Ping(ctx context.Context, conn net.Conn) error {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	want := []byte(time.Now().Format(time.RFC3339Nano))
	if _, err := conn.Write(want); err != nil {
		return err
	}
	got := make([]byte, len(want))
	for n := 0; n < len(got); {
		k, err := conn.Read(got[n:])
		if err != nil {
			return err
		}
		n += k
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("got %q back for %q", got, want)
	}
	return nil
}

// rawExchange sends a packet through a raw socket and waits for the answer.
func (l *Lab) rawExchange(ctx context.Context, request Packet, isAnswer func(*Packet) bool) error {
	conn, err := l.rawSocket(ctx, request.Protocol, request.Src)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := conn.WriteTo(request.body(), &net.IPAddr{IP: request.Dst.AsSlice()}); err != nil {
		return err
	}
	buf := make([]byte, 2048)
	for {
		p, err := readRaw(conn, buf, request.Protocol)
		if err != nil {
			return err
		}
		if p.Src == request.Dst && isAnswer(&p) {
			return nil
		}
	}
}

func (l *Lab) rawSocket(ctx context.Context, protocol uint8, at netip.Addr) (net.PacketConn, error) {
	network := "ip6:" + strconv.Itoa(int(protocol))
	if at.Is4() {
		network = "ip4:" + strconv.Itoa(int(protocol))
	}
	var conn net.PacketConn
	err := l.Home(at).Do(func() (err error) {
		conn, err = (&net.ListenConfig{}).ListenPacket(ctx, network, at.String())
		return err
	})
	return conn, err
}

func readRaw(conn net.PacketConn, buf []byte, protocol uint8) (Packet, error) {
	p := Packet{Protocol: protocol}
	n, from, err := conn.ReadFrom(buf)
	if err != nil {
		return p, err
	}
	if ip, ok := from.(*net.IPAddr); ok {
		a, _ := netip.AddrFromSlice(ip.IP)
		p.Src = a.Unmap()
	}
	p.parseBody(buf[:n])
	return p, nil
}

// server is one that Serve started.
type server struct {
	protocol uint8
	at       netip.AddrPort
}

// Serve makes the namespace that has an address answer there until the test ends: TCP and UDP echo, SCTP answers INIT.
// A second call for the same address does nothing.
func (l *Lab) Serve(protocol uint8, at netip.AddrPort) error {
	if protocol == SCTP {
		at = netip.AddrPortFrom(at.Addr(), 0) // one socket for all ports
	}
	l.mu.Lock()
	_, there := l.servers[server{protocol, at}]
	l.servers[server{protocol, at}] = struct{}{}
	l.mu.Unlock()
	if there {
		return nil
	}
	switch protocol {
	case TCP:
		return l.serveTCP(at)
	case UDP:
		return l.serveUDP(at)
	case SCTP:
		return l.serveSCTP(at.Addr())
	}
	return nil // the kernel answers echoes
}

func (l *Lab) serveTCP(at netip.AddrPort) error {
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	var ln net.Listener
	err := l.Home(at.Addr()).Do(func() (err error) {
		ln, err = lc.Listen(context.Background(), "tcp", at.String())
		return err
	})
	if err != nil {
		return err
	}
	l.atEnd(func() { _ = ln.Close() })
	l.goes(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			l.atEnd(func() { _ = conn.Close() })
			l.goes(func() { echo(conn) })
		}
	})
	return nil
}

func echo(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	buf := make([]byte, 2048)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return
		}
		if _, err := conn.Write(buf[:n]); err != nil {
			return
		}
	}
}

func (l *Lab) serveUDP(at netip.AddrPort) error {
	var conn *net.UDPConn
	err := l.Home(at.Addr()).Do(func() (err error) {
		conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
		return err
	})
	if err != nil {
		return err
	}
	l.atEnd(func() { _ = conn.Close() })
	l.goes(func() {
		buf := make([]byte, 2048)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			switch {
			case errors.Is(err, net.ErrClosed):
				return
			case err != nil:
				continue
			}
			_, _ = conn.WriteToUDPAddrPort(buf[:n], from)
		}
	})
	return nil
}

func (l *Lab) serveSCTP(at netip.Addr) error {
	conn, err := l.rawSocket(context.Background(), SCTP, at)
	if err != nil {
		return err
	}
	l.atEnd(func() { _ = conn.Close() })
	l.goes(func() {
		buf := make([]byte, 2048)
		for {
			p, err := readRaw(conn, buf, SCTP)
			switch {
			case errors.Is(err, net.ErrClosed):
				return
			case err != nil || p.Chunk != 1:
				continue
			}
			answer := Packet{Src: at, Dst: p.Src, Protocol: SCTP, SrcPort: p.DstPort, DstPort: p.SrcPort, Chunk: 2}
			_, _ = conn.WriteTo(answer.body(), &net.IPAddr{IP: p.Src.AsSlice()})
		}
	})
	return nil
}
