package datapath

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// patience is how long a packet that is not dropped may take. It takes microseconds, unless the kernel leaves it to a
// thread that has to wait for a processor.
const patience = 10 * time.Second

// Traffic opens connections on one path. It belongs to one thread, which it moves between namespaces.
type Traffic struct {
	path     *Path
	tcp, udp int
	flow     int
	tcpTo    unix.RawSockaddrInet4
	udpTo    unix.RawSockaddrInet4
	fds      []int
}

// Listen makes a path's server listen on a TCP and a UDP port.
func Listen(p *Path, tcpPort, udpPort uint16) (t *Traffic, err error) {
	t = &Traffic{path: p, tcp: -1, udp: -1, flow: -1, tcpTo: raw(p.serverAddr, tcpPort), udpTo: raw(p.serverAddr, udpPort)}
	defer func() {
		if err != nil {
			t.Close()
		}
	}()
	if err := p.server.Enter(); err != nil {
		return nil, err
	}
	if t.tcp, err = bound(unix.SOCK_STREAM, p.serverAddr, tcpPort); err != nil {
		return nil, err
	}
	if err := unix.Listen(t.tcp, 65535); err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	if t.udp, err = bound(unix.SOCK_DGRAM, p.serverAddr, udpPort); err != nil {
		return nil, err
	}
	// An unread datagram must not cause the next one to be dropped.
	if err := unix.SetsockoptInt(t.udp, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20); err != nil {
		return nil, fmt.Errorf("receive buffer: %w", err)
	}
	return t, t.establish()
}

// Close closes the traffic's sockets.
func (t *Traffic) Close() {
	for _, fd := range append(t.fds, t.tcp, t.udp, t.flow) {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
	t.fds = nil
}

func raw(a netip.Addr, port uint16) unix.RawSockaddrInet4 {
	return unix.RawSockaddrInet4{Family: unix.AF_INET, Port: port<<8 | port>>8, Addr: a.As4()}
}

func bound(kind int, a netip.Addr, port uint16) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: int(port), Addr: a.As4()}); err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("bind %s port %d: %w", a, port, err)
	}
	return fd, nil
}

// establish opens a UDP flow that has been answered once, so that the router considers it established.
func (t *Traffic) establish() error {
	if t.flow >= 0 {
		_ = unix.Close(t.flow)
	}
	if err := t.path.client.Enter(); err != nil {
		return err
	}
	var err error
	if t.flow, err = bound(unix.SOCK_DGRAM, t.path.clientAddr, 0); err != nil {
		return err
	}
	if errno := connect(t.flow, &t.udpTo); errno != 0 {
		return errno
	}
	for start := time.Now(); ; {
		err := t.exchange()
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) || time.Since(start) > patience {
			return err
		}
		// A link that has just come up drops packets until the kernel is ready for them.
	}
}

// exchange sends a datagram to the server and one back. The error is EAGAIN if either gets lost.
func (t *Traffic) exchange() error {
	if _, err := unix.Write(t.flow, []byte("?")); err != nil {
		return err
	}
	from, err := receive(t.udp)
	if err != nil {
		return fmt.Errorf("no datagram comes through: %w", err)
	}
	if err := unix.Sendto(t.udp, []byte("!"), 0, from); err != nil {
		return err
	}
	if _, err := receive(t.flow); err != nil {
		return fmt.Errorf("no answer comes back: %w", err)
	}
	return nil
}

// receive waits briefly for a datagram: on a busy machine the kernel may leave its delivery to another thread.
func receive(fd int) (unix.Sockaddr, error) {
	const wait = 200 // ms
	ready := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	if _, err := unix.Poll(ready, wait); err != nil {
		return nil, err
	}
	var b [8]byte
	_, from, err := unix.Recvfrom(fd, b[:], 0)
	return from, err
}

// connect is the bare system call. Otherwise the time would include Go's scheduler, which a call that may block
// notifies twice.
func connect(fd int, to *unix.RawSockaddrInet4) unix.Errno {
	_, _, errno := unix.RawSyscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(to)), unix.SizeofSockaddrInet4)
	return errno
}

func closeFD(fd int) unix.Errno {
	_, _, errno := unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0)
	return errno
}

var payload = [1]byte{'!'}

func send(fd int) unix.Errno {
	_, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&payload)), uintptr(len(payload)))
	return errno
}

// read waits for one byte on a socket that may block.
func read(fd int) unix.Errno {
	var b [1]byte
	_, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&b)), uintptr(len(b)))
	return errno
}

// sockets opens n sockets of the client.
func (t *Traffic) sockets(kind, n int) error {
	if err := t.path.client.Enter(); err != nil {
		return err
	}
	for range n {
		fd, err := unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("socket: %w", err)
		}
		t.fds = append(t.fds, fd)
	}
	return nil
}

// prepareTCP sets options that let a connection end at once and a dropped one be noticed.
func (t *Traffic) prepareTCP(wait time.Duration) error {
	limit := unix.NsecToTimeval(wait.Nanoseconds())
	for _, fd := range t.fds {
		if err := unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
			return fmt.Errorf("linger: %w", err)
		}
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit); err != nil {
			return fmt.Errorf("connect timeout: %w", err)
		}
	}
	return nil
}

// drain closes the sockets that the client opened and the server accepted.
func (t *Traffic) drain() {
	for _, fd := range t.fds {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
	t.fds = t.fds[:0]
	for {
		fd, _, err := unix.Accept4(t.tcp, unix.SOCK_CLOEXEC)
		if err != nil {
			break
		}
		_ = unix.Close(fd)
	}
	var b [8]byte
	for {
		if _, _, err := unix.Recvfrom(t.udp, b[:], 0); err != nil {
			break
		}
	}
}

// TCP opens connections, one after another, and appends the time of each to times: of the connect alone or, with whole,
// of connect and close. The close resets the connection, so that nothing of it is left.
func (t *Traffic) TCP(times []time.Duration, n int, whole bool) ([]time.Duration, error) {
	defer t.drain()
	if err := t.sockets(unix.SOCK_STREAM, n); err != nil {
		return times, err
	}
	if err := t.prepareTCP(patience); err != nil {
		return times, err
	}
	last := time.Now()
	for i, fd := range t.fds {
		if errno := connect(fd, &t.tcpTo); errno != 0 {
			return times, fmt.Errorf("connect: %w", errno)
		}
		if whole {
			t.fds[i] = -1
			if errno := closeFD(fd); errno != 0 {
				return times, fmt.Errorf("close: %w", errno)
			}
		}
		now := time.Now()
		times = append(times, now.Sub(last))
		last = now
	}
	return times, nil
}

// NewFlows sends one datagram from each of n new sockets and appends the time of each to times.
func (t *Traffic) NewFlows(times []time.Duration, n int) ([]time.Duration, error) {
	defer t.drain()
	if err := t.sockets(unix.SOCK_DGRAM, n); err != nil {
		return times, err
	}
	for _, fd := range t.fds {
		if errno := connect(fd, &t.udpTo); errno != 0 {
			return times, fmt.Errorf("connect: %w", errno)
		}
	}
	return datagrams(times, t.fds)
}

// Established sends n datagrams of a flow that the router knows and appends the time of each to times.
func (t *Traffic) Established(times []time.Duration, n int) ([]time.Duration, error) {
	defer t.drain()
	if err := t.establish(); err != nil {
		return times, err
	}
	fds := make([]int, n)
	for i := range fds {
		fds[i] = t.flow
	}
	return datagrams(times, fds)
}

// Exchanges makes n requests on one TCP connection, each of which is answered, and appends the time of each to times.
func (t *Traffic) Exchanges(times []time.Duration, n int) ([]time.Duration, error) {
	defer t.drain()
	if err := t.sockets(unix.SOCK_STREAM, 1); err != nil {
		return times, err
	}
	if err := t.prepareTCP(patience); err != nil {
		return times, err
	}
	client := t.fds[0]
	if errno := connect(client, &t.tcpTo); errno != 0 {
		return times, fmt.Errorf("connect: %w", errno)
	}
	server, err := t.accept()
	if err != nil {
		return times, err
	}
	t.fds = append(t.fds, server)
	for _, fd := range t.fds {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
			return times, fmt.Errorf("no delay: %w", err)
		}
	}
	last := time.Now()
	for range n {
		for _, step := range [...]func() unix.Errno{
			func() unix.Errno { return send(client) }, func() unix.Errno { return read(server) },
			func() unix.Errno { return send(server) }, func() unix.Errno { return read(client) },
		} {
			if errno := step(); errno != 0 {
				return times, fmt.Errorf("exchange: %w", errno)
			}
		}
		now := time.Now()
		times = append(times, now.Sub(last))
		last = now
	}
	return times, nil
}

// accept returns the server's end of the next connection.
func (t *Traffic) accept() (int, error) {
	ready := []unix.PollFd{{Fd: int32(t.tcp), Events: unix.POLLIN}}
	if _, err := unix.Poll(ready, int(patience.Milliseconds())); err != nil {
		return -1, err
	}
	fd, _, err := unix.Accept4(t.tcp, unix.SOCK_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("accept: %w", err)
	}
	return fd, nil
}

func datagrams(times []time.Duration, fds []int) ([]time.Duration, error) {
	last := time.Now()
	for _, fd := range fds {
		errno := send(fd)
		now := time.Now()
		if errno != 0 {
			return times, fmt.Errorf("send: %w", errno)
		}
		times = append(times, now.Sub(last))
		last = now
	}
	return times, nil
}

// Drops reports whether the packets of a connection to another port of the server are dropped. Nobody listens there, so
// one that passes is refused. Without an answer within the given time they count as dropped.
func (t *Traffic) Drops(port uint16, wait time.Duration) (bool, error) {
	defer t.drain()
	if err := t.sockets(unix.SOCK_STREAM, 1); err != nil {
		return false, err
	}
	if err := t.prepareTCP(wait); err != nil {
		return false, err
	}
	to := raw(t.path.serverAddr, port)
	switch errno := connect(t.fds[0], &to); {
	case errno == unix.EINPROGRESS:
		return true, nil
	case errno == unix.ECONNREFUSED:
		return false, nil
	default:
		return false, errors.Join(errors.New("connect to a closed port"), errno)
	}
}
