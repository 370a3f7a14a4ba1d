package kernel

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// transport carries datagrams to and from the kernel.
type transport interface {
	// send delivers one datagram. The kernel handles it before send returns. If send fails, the kernel has not seen it.
	send(b []byte) error
	// receive reads one datagram into b and returns its length. If none arrives within wait, the error is
	// os.ErrDeadlineExceeded. With a wait of zero, receive does not wait.
	receive(b []byte, wait time.Duration) (int, error)
	Close() error
}

// socket is the real transport. It bypasses netlink.Conn's Send and Receive, which copy each message and drop the sequence
// number of a message that failed.
type socket struct {
	conn *netlink.Conn
	raw  syscall.RawConn
}

func dial(o options) (*socket, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: o.netns})
	if err != nil {
		return nil, err
	}
	s := &socket{conn: conn}
	if err := s.configure(o.buffer); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return s, nil
}

func (s *socket) configure(buffer int) error {
	// Both use the privileged form of the socket option if they may. If not, the system's limit applies, which affects
	// nothing but the size of a transaction.
	if err := s.conn.SetReadBuffer(buffer); err != nil {
		return fmt.Errorf("set receive buffer: %w", err)
	}
	if err := s.conn.SetWriteBuffer(buffer); err != nil {
		return fmt.Errorf("set send buffer: %w", err)
	}
	// Otherwise an error would carry the whole message that it refers to.
	if err := s.conn.SetOption(netlink.CapAcknowledge, true); err != nil {
		return fmt.Errorf("set NETLINK_CAP_ACK: %w", err)
	}
	if err := s.conn.SetOption(netlink.ExtendedAcknowledge, true); err != nil {
		return fmt.Errorf("set NETLINK_EXT_ACK: %w", err)
	}
	raw, err := s.conn.SyscallConn()
	if err != nil {
		return err
	}
	s.raw = raw
	return nil
}

func (s *socket) send(b []byte) error {
	var err error
	rawErr := s.raw.Write(func(fd uintptr) bool {
		for {
			err = unix.Sendto(int(fd), b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
			if !errors.Is(err, unix.EINTR) {
				return !errors.Is(err, unix.EAGAIN)
			}
		}
	})
	if rawErr != nil {
		return rawErr
	}
	return os.NewSyscallError("sendto", err)
}

func (s *socket) receive(b []byte, wait time.Duration) (int, error) {
	if wait > 0 {
		if err := s.conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
			return 0, err
		}
		// A deadline in the past would fail the next read.
		defer func() { _ = s.conn.SetReadDeadline(time.Time{}) }()
	}
	var n, flags int
	var err error
	rawErr := s.raw.Read(func(fd uintptr) bool {
		for {
			n, _, flags, _, err = unix.Recvmsg(int(fd), b, nil, unix.MSG_DONTWAIT)
			if !errors.Is(err, unix.EINTR) {
				return wait == 0 || !errors.Is(err, unix.EAGAIN)
			}
		}
	})
	switch {
	case rawErr != nil:
		return 0, rawErr
	case errors.Is(err, unix.EAGAIN):
		return 0, os.ErrDeadlineExceeded
	case err != nil:
		return 0, os.NewSyscallError("recvmsg", err)
	case flags&unix.MSG_TRUNC != 0:
		return 0, errors.New("netlink answer is larger than the receive buffer")
	}
	return n, nil
}

// Close ends the connection.
func (s *socket) Close() error { return s.conn.Close() }
