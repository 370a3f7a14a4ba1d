package supervisor

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// reap collects every child that ends, the server's own and the orphans that process 1 inherits.
func (s *Server) reap(ctx context.Context) {
	died := make(chan os.Signal, 1)
	signal.Notify(died, syscall.SIGCHLD)
	defer signal.Stop(died)
	for {
		s.reapEnded()
		select {
		case <-died:
		case <-s.born:
		case <-ctx.Done():
			return
		}
	}
}

func (s *Server) reapEnded() {
	for {
		var ws syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &ws, syscall.WNOHANG, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		s.ended(pid, ws)
	}
}

func (s *Server) ended(pid int, ws syscall.WaitStatus) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.procs {
		if p.status.PID != pid || !p.status.Running {
			continue
		}
		p.status.Running = false
		p.status.Ended = time.Now()
		p.status.ExitCode = exitCode(ws)
		close(p.done)
		return
	}
}

func exitCode(ws syscall.WaitStatus) int {
	if ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ws.ExitStatus()
}
