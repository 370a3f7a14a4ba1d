package report

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netpol-agent/netpol-agent/internal/wait"
)

// DefaultStatusSocket is the address at which the agent answers with its status. It is an abstract unix socket: it
// belongs to the node's network namespace, needs no directory, and disappears with the agent.
const DefaultStatusSocket = "@netpol-agent"

const statusTimeout = 10 * time.Second

// ServeStatus answers each connection with the status as JSON and closes it, until ctx ends.
func ServeStatus(ctx context.Context, l *net.UnixListener, status func(context.Context) (*Status, error), log *slog.Logger) {
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	for {
		conn, err := l.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			log.Warn("status socket", "error", err)
			if !wait.Sleep(ctx, time.Second) {
				return
			}
			continue
		}
		go answerStatus(ctx, conn, status, log)
	}
}

func answerStatus(ctx context.Context, conn *net.UnixConn, status func(context.Context) (*Status, error), log *slog.Logger) {
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(statusTimeout))
	if err := onlyRoot(conn); err != nil {
		log.Warn("status refused", "error", err)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	s, err := status(ctx)
	if err != nil {
		log.Warn("status is not available", "error", err)
		return
	}
	if err := json.NewEncoder(conn).Encode(s); err != nil {
		log.Debug("status not delivered", "error", err)
	}
}

// onlyRoot refuses a peer that is not root: the status shows who may talk to whom.
func onlyRoot(conn *net.UnixConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return fmt.Errorf("peer credentials: %w", err)
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err := errors.Join(err, credErr); err != nil {
		return fmt.Errorf("peer credentials: %w", err)
	}
	if cred.Uid != 0 {
		return fmt.Errorf("uid %d is not root", cred.Uid)
	}
	return nil
}

// ListenStatus opens the status socket; "" means DefaultStatusSocket. It also prevents two agents on one node.
func ListenStatus(socket string) (*net.UnixListener, error) {
	socket = cmp.Or(socket, DefaultStatusSocket)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if errors.Is(err, unix.EADDRINUSE) {
		return nil, fmt.Errorf("status socket %s is in use: another agent runs on this node; stop it, or choose another "+
			"socket with --status-socket", socket)
	}
	if err != nil {
		return nil, fmt.Errorf("status socket %s: %w; choose another one with --status-socket", socket, err)
	}
	return l, nil
}

// FetchStatus asks the agent in this network namespace for its status. The caller must be root. Socket is the agent's
// address; "" means DefaultStatusSocket.
func FetchStatus(ctx context.Context, socket string) (*Status, error) {
	socket = cmp.Or(socket, DefaultStatusSocket)
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		if errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.ENOENT) {
			return nil, fmt.Errorf("no agent answers at %s: is one running in this network namespace?", socket)
		}
		return nil, fmt.Errorf("status socket %s: %w", socket, err)
	}
	defer func() { _ = conn.Close() }()
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(2 * statusTimeout)
	}
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, fmt.Errorf("status socket %s: %w", socket, err)
	}
	var s Status
	if err := json.NewDecoder(conn).Decode(&s); err != nil {
		return nil, fmt.Errorf("the agent at %s sent no status (it answers only root): %w", socket, err)
	}
	return &s, nil
}
