package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"sort"
	"sync"
	"syscall"
	"time"
)

// Server starts processes and reaps them. Nothing else in its process may wait for children.
type Server struct {
	mu    sync.Mutex
	procs map[string]*process
	// born is signalled after each start, so that a reaper without children knows that there is one now.
	born chan struct{}
}

type process struct {
	status Status
	done   chan struct{}
}

// NewServer returns a server without processes.
func NewServer() *Server {
	return &Server{procs: map[string]*process{}, born: make(chan struct{}, 1)}
}

// Serve answers on the listener and reaps until the context ends. It closes the listener.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	go s.reap(ctx)
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	for {
		conn, err := l.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept on %s: %w", l.Addr(), err)
		}
		go s.answer(conn)
	}
}

func (s *Server) answer(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	var req request
	if err := json.NewDecoder(conn).Decode(&req); err != nil {
		_ = json.NewEncoder(conn).Encode(response{Error: "read request: " + err.Error()})
		return
	}
	// The client has sent its request or is gone. Either way, this read returns when the client hangs up.
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_, _ = conn.Read(make([]byte, 1))
	}()
	statuses, err := s.do(req, gone)
	res := response{Statuses: statuses}
	if err != nil {
		res.Error = err.Error()
	}
	_ = json.NewEncoder(conn).Encode(res)
}

func (s *Server) do(req request, gone <-chan struct{}) ([]Status, error) {
	switch req.Op {
	case opStart:
		st, err := s.start(req.Spec)
		return []Status{st}, err
	case opSignal:
		return nil, s.signal(req.Name, syscall.Signal(req.Signal), req.Group)
	case opWait:
		st, err := s.wait(req.Name, gone)
		return []Status{st}, err
	case opList:
		return s.list(), nil
	default:
		return nil, fmt.Errorf("unknown operation %q", req.Op)
	}
}

func (s *Server) start(spec Spec) (Status, error) {
	if spec.Name == "" || len(spec.Argv) == 0 {
		return Status{}, errors.New("a process needs a name and a program")
	}
	log, err := os.OpenFile(spec.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return Status{}, fmt.Errorf("log of %s: %w", spec.Name, err)
	}
	defer func() { _ = log.Close() }()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return Status{}, err
	}
	defer func() { _ = null.Close() }()
	if spec.Dir == "" {
		spec.Dir = "/"
	}

	// The lock is held from the start to the registration, so that the reaper cannot take our child for an orphan.
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.procs[spec.Name]; old != nil && old.status.Running {
		return Status{}, fmt.Errorf("%s is running already", spec.Name)
	}
	pid, err := syscall.ForkExec(spec.Argv[0], spec.Argv, &syscall.ProcAttr{
		Dir:   spec.Dir,
		Env:   spec.Env,
		Files: []uintptr{null.Fd(), log.Fd(), log.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return Status{}, fmt.Errorf("start %s (%s): %w", spec.Name, spec.Argv[0], err)
	}
	p := &process{
		status: Status{Spec: spec, PID: pid, Running: true, Started: time.Now()},
		done:   make(chan struct{}),
	}
	s.procs[spec.Name] = p
	select {
	case s.born <- struct{}{}:
	default:
	}
	return p.status, nil
}

func (s *Server) signal(name string, sig syscall.Signal, group bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.procs[name]
	if p == nil {
		return fmt.Errorf("no process %s was started", name)
	}
	// A process that is not marked as ended has not been reaped, or the reaper waits for the lock. The PID is still
	// its own or free, because PIDs are not reused at once.
	if !p.status.Running {
		return nil
	}
	pid := p.status.PID
	if group {
		pid = -pid
	}
	if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("signal %s: %w", name, err)
	}
	return nil
}

func (s *Server) wait(name string, gone <-chan struct{}) (Status, error) {
	s.mu.Lock()
	p := s.procs[name]
	s.mu.Unlock()
	if p == nil {
		return Status{}, fmt.Errorf("no process %s was started", name)
	}
	select {
	case <-p.done:
	case <-gone:
		return Status{}, errors.New("the client hung up")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return p.status, nil
}

func (s *Server) list() []Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Status, 0, len(s.procs))
	for _, p := range s.procs {
		all = append(all, p.status)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Started.Before(all[j].Started) })
	return all
}
