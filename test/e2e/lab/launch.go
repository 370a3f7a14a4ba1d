package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/netpol-agent/netpol-agent/test/e2e/lab/machine"
	"github.com/netpol-agent/netpol-agent/test/e2e/lab/manifest"
	"github.com/netpol-agent/netpol-agent/test/e2e/lab/supervisor"
)

// readyTimeout is how long a part may take until it works. It is generous, because a slow machine is not a failure.
const readyTimeout = 2 * time.Minute

// pollInterval is the time between two checks of whether a part works.
const pollInterval = 50 * time.Millisecond

// tailLines is how much of a log a failure shows.
const tailLines = 20

// PartError reports which part of the cluster failed, and how its log ends.
type PartError struct {
	// Part is the process, Machine where it runs.
	Part, Machine string
	// LogPath is its log, Tail the log's last lines.
	LogPath string
	Tail    []string
	Err     error
}

// Error returns several lines: what failed, and the last lines of its log.
func (e *PartError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s on %s: %v", e.Part, e.Machine, e.Err)
	if len(e.Tail) == 0 {
		fmt.Fprintf(&b, "\n  (%s is empty)", e.LogPath)
		return b.String()
	}
	fmt.Fprintf(&b, "\n  last lines of %s:", e.LogPath)
	for _, line := range e.Tail {
		fmt.Fprintf(&b, "\n  | %s", line)
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *PartError) Unwrap() error { return e.Err }

// launcher starts a cluster's processes and waits until they work.
type launcher struct {
	logs string
	// env is the environment of every process.
	env []string
}

// part is a process to start, the machine to start it on, and a check that it works.
type part struct {
	machine machine.Machine
	process manifest.Process
	// ready returns nil once the part works. It is called repeatedly until then.
	ready func(ctx context.Context) error
}

// launch starts parts and returns once all of them work.
func (l launcher) launch(ctx context.Context, parts ...part) error {
	for _, p := range parts {
		if err := l.start(ctx, p); err != nil {
			return l.failure(p, err)
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, p := range parts {
		g.Go(func() error { return l.await(ctx, p) })
	}
	return g.Wait()
}

func (l launcher) start(ctx context.Context, p part) error {
	_, err := p.machine.Supervisor().Start(ctx, supervisor.Spec{
		Name: p.process.Name,
		Argv: p.process.Argv,
		Env:  append(slices.Clone(l.env), p.process.Env...),
		Log:  l.logPath(p),
	})
	return err
}

// await returns once the part works, or with a PartError when it ends or takes too long.
func (l launcher) await(ctx context.Context, p part) error {
	deadline := time.Now().Add(readyTimeout)
	for {
		err := l.probe(ctx, p)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if ended := l.ended(ctx, p); ended != nil {
			return l.failure(p, ended)
		}
		if time.Now().After(deadline) {
			return l.failure(p, fmt.Errorf("does not work after %s: %w", readyTimeout, err))
		}
		time.Sleep(pollInterval)
	}
}

func (l launcher) probe(ctx context.Context, p part) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return p.ready(ctx)
}

// ended returns an error if the part's process has ended.
func (l launcher) ended(ctx context.Context, p part) error {
	all, err := p.machine.Supervisor().List(ctx)
	if err != nil {
		if !p.machine.Alive() {
			return errors.New("its machine has died")
		}
		return nil
	}
	for _, st := range all {
		if st.Spec.Name == p.process.Name && !st.Running {
			return fmt.Errorf("ended with status %d after %.1f s", st.ExitCode, st.Ended.Sub(st.Started).Seconds())
		}
	}
	return nil
}

func (l launcher) logPath(p part) string {
	return filepath.Join(l.logs, p.machine.Name, p.process.Name+".log")
}

func (l launcher) failure(p part, err error) error {
	return &PartError{
		Part:    p.process.Name,
		Machine: p.machine.Name,
		LogPath: l.logPath(p),
		Tail:    tail(l.logPath(p), tailLines),
		Err:     err,
	}
}

// tail returns the last n lines of a file, as far as it can be read.
func tail(file string, n int) []string {
	data, err := os.ReadFile(file)
	text := strings.TrimRight(string(data), "\n")
	if err != nil || text == "" {
		return nil
	}
	lines := strings.Split(text, "\n")
	return lines[max(0, len(lines)-n):]
}
