package traffic

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"
)

// receiveBuffer holds the datagrams that arrive while their reader does not get to run.
const receiveBuffer = 4 << 20

// server echoes, and counts what arrives.
type server struct {
	tcp *net.TCPListener
	udp *net.UDPConn

	mu sync.Mutex
	// requests counts the requests that were read, by stream. accepted counts the connections, by source address.
	requests map[uint32]int
	accepted map[netip.Addr]int
}

func listen(ctx context.Context, at End) (*server, error) {
	s := &server{requests: map[uint32]int{}, accepted: map[netip.Addr]int{}}
	where := netip.AddrPortFrom(at.Addr, port).String()
	err := within(at.NetNS, func() error {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", where)
		if err != nil {
			return err
		}
		s.tcp = l.(*net.TCPListener)
		c, err := (&net.ListenConfig{}).ListenPacket(ctx, "udp", where)
		if err != nil {
			return err
		}
		s.udp = c.(*net.UDPConn)
		return forceBuffer(s.udp, receiveBuffer)
	})
	if err != nil {
		s.close()
		return nil, err
	}
	go s.accept()
	go s.receive()
	return s, nil
}

func (s *server) close() {
	if s.tcp != nil {
		_ = s.tcp.Close()
	}
	if s.udp != nil {
		_ = s.udp.Close()
	}
}

func (s *server) accept() {
	for {
		conn, err := s.tcp.AcceptTCP()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.accepted[conn.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()]++
		s.mu.Unlock()
		go s.echo(conn)
	}
}

// echo serves one connection until its client closes it.
func (s *server) echo(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	var request [8]byte
	for {
		if _, err := io.ReadFull(conn, request[:]); err != nil {
			return
		}
		s.note(request[:])
		if _, err := conn.Write(request[:]); err != nil {
			return
		}
	}
}

func (s *server) receive() {
	buf := make([]byte, 64)
	for {
		n, from, err := s.udp.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		if n == 8 {
			s.note(buf[:n])
			_, _ = s.udp.WriteToUDPAddrPort(buf[:n], from)
		}
	}
}

func (s *server) note(request []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests[binary.BigEndian.Uint32(request)]++
}

// arrived returns how much of a stream arrived. A forbidden client closes before it sends a request, so its
// connections count.
func (s *server) arrived(id uint32, from netip.Addr, kind Kind) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if kind == Connects {
		return s.accepted[from]
	}
	return s.requests[id]
}

// forceBuffer sets a socket's receive buffer beyond the system's limit for ordinary users.
func forceBuffer(conn *net.UDPConn, bytes int) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	if err := raw.Control(func(fd uintptr) {
		set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, bytes)
	}); err != nil {
		return err
	}
	return set
}
