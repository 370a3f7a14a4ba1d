package traffic

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

func (s *stream) target() string { return netip.AddrPortFrom(s.To.Addr, port).String() }

func (s *stream) dial(ctx context.Context, timeout time.Duration) (*net.TCPConn, error) {
	conn, err := (&net.Dialer{Timeout: timeout}).DialContext(ctx, "tcp", s.target())
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}

// connect opens a connection, sends one request and closes it.
func (s *stream) connect(ctx context.Context) error {
	timeout := knock
	if s.Permitted {
		timeout = patience
	}
	conn, err := s.dial(ctx, timeout)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if err := s.ask(conn); err != nil {
		return err
	}
	if n := repeated(conn); n > 0 {
		s.result.Repeated += n
		return errors.New(strconv.Itoa(n) + " segments had to be sent again")
	}
	return nil
}

// ask sends a request over a connection and waits for its echo.
func (s *stream) ask(conn net.Conn) error {
	var request, answer [8]byte
	binary.BigEndian.PutUint32(request[:], s.id)
	binary.BigEndian.PutUint32(request[4:], s.seq.Add(1))
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := conn.Write(request[:]); err != nil {
		return err
	}
	if _, err := io.ReadFull(conn, answer[:]); err != nil {
		return err
	}
	if answer != request {
		return fmt.Errorf("the answer is %x, not %x", answer, request)
	}
	return nil
}

// datagram sends a datagram from a new port. It waits for no answer to a forbidden one: only its arrival counts.
func (s *stream) datagram(ctx context.Context) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "udp", s.target())
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if s.Permitted {
		return s.ask(conn)
	}
	request := binary.BigEndian.AppendUint32(nil, s.id)
	if _, err := conn.Write(binary.BigEndian.AppendUint32(request, s.seq.Add(1))); err != nil {
		return err
	}
	return errors.New("no answer awaited")
}

// repeated returns how many segments of a connection the kernel had to send again, the first included.
func repeated(conn *net.TCPConn) int {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0
	}
	var info *unix.TCPInfo
	if e := raw.Control(func(fd uintptr) {
		info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	}); e != nil || err != nil {
		return 0
	}
	return int(info.Total_retrans)
}
