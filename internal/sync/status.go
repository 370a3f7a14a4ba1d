package sync

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netpol-agent/netpol-agent/internal/render"
)

// DefaultStatusSocket is where the agent tells its status: an abstract unix socket, which belongs to the
// node's network namespace, needs no directory and vanishes with the agent.
const DefaultStatusSocket = "@netpol-agent"

// Status is what a running agent tells about itself.
type Status struct {
	Version string `json:"version"`
	Node    string `json:"node"`
	// Backend is the name of the renderer that is used, BackendReason why this one.
	Backend       string `json:"backend"`
	BackendReason string `json:"backendReason,omitempty"`
	// Table is where the kernel holds the rules.
	Table string `json:"table"`

	Started  time.Time `json:"started"`
	Ready    bool      `json:"ready"`
	NotReady []string  `json:"notReady,omitempty"`
	// LastSync is when kernel and program were last known to be equal.
	LastSync time.Time `json:"lastSync,omitzero"`
	// Pending is the number of changes that the kernel may still lack.
	Pending int `json:"pending"`
	// Installed says what is in the kernel, by address family.
	Installed map[string]render.Counts `json:"installed"`
	// Leftovers says what other backends have left that could not be removed yet, and why.
	Leftovers []string `json:"leftovers,omitempty"`
	// Objects says how many objects of the cluster the agent knows, by resource.
	Objects map[string]int `json:"objects"`

	Policies []PolicyStatus `json:"policies"`
	Pods     []PodStatus    `json:"pods"`
}

// snapshot fills in what the engine knows. To be called in the engine's goroutine.
func (e *Engine) snapshot(s *Status) {
	s.Table = e.cfg.Backend.Table()
	s.Pending = e.pending()
	s.Installed = e.installed()
	s.Objects = e.objectCounts()
	s.Policies = e.policyStatuses()
	s.Pods = podStatuses(e.model.compiler.Program())
}

// statusServer answers each connection with the status as JSON and closes it.
type statusServer struct {
	listener *net.UnixListener
	status   func(context.Context) (*Status, error)
	log      *slog.Logger
}

const statusTimeout = 10 * time.Second

func (s *statusServer) run(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() { _ = s.listener.Close() })
	defer stop()
	for {
		conn, err := s.listener.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			s.log.Warn("status socket", "error", err)
			if !sleep(ctx, time.Second) {
				return
			}
			continue
		}
		go s.serve(ctx, conn)
	}
}

func (s *statusServer) serve(ctx context.Context, conn *net.UnixConn) {
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(statusTimeout))
	if err := onlyRoot(conn); err != nil {
		s.log.Warn("status refused", "error", err)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	status, err := s.status(ctx)
	if err != nil {
		s.log.Warn("status is not available", "error", err)
		return
	}
	if err := json.NewEncoder(conn).Encode(status); err != nil {
		s.log.Debug("status not delivered", "error", err)
	}
}

// onlyRoot refuses peers that are not root: the status tells who may talk to whom.
func onlyRoot(conn *net.UnixConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return fmt.Errorf("peer credentials: %w", err)
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return fmt.Errorf("peer credentials: %w", err)
	}
	if credErr != nil {
		return fmt.Errorf("peer credentials: %w", credErr)
	}
	if cred.Uid != 0 {
		return fmt.Errorf("uid %d is not root", cred.Uid)
	}
	return nil
}

// listenStatus opens the status socket. That also keeps two agents off one node.
func listenStatus(socket string) (*net.UnixListener, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if errors.Is(err, unix.EADDRINUSE) {
		return nil, fmt.Errorf("status socket %s is in use: another agent runs on this node; end it, or choose another "+
			"socket with --status-socket", socket)
	}
	if err != nil {
		return nil, fmt.Errorf("status socket %s: %w; choose another one with --status-socket", socket, err)
	}
	return l, nil
}

// FetchStatus asks the agent that runs in this network namespace for its status. The caller must be root.
// Socket is its address; "" means DefaultStatusSocket.
func FetchStatus(ctx context.Context, socket string) (*Status, error) {
	socket = orDefault(socket, DefaultStatusSocket)
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
		return nil, fmt.Errorf("the agent at %s gave no status (it answers root alone): %w", socket, err)
	}
	return &s, nil
}

// String gives the first reason not to be ready, or "ready".
func (s *Status) String() string {
	if s.Ready {
		return "ready"
	}
	return "not ready: " + strings.Join(s.NotReady, "; ")
}
