package conformance

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/netpol-agent/netpol-agent/test/e2e/lab"
	"github.com/netpol-agent/netpol-agent/test/e2e/lab/image"
	"github.com/netpol-agent/netpol-agent/test/e2e/lab/progress"
)

// stopGrace is how long a suite may clean up after an interruption.
const stopGrace = 30 * time.Second

// suite is a set of tests that others wrote.
type suite interface {
	// name is the one it is asked for by.
	name() string
	// build builds what it needs, before there is a cluster. It returns the release of the suite.
	build(ctx context.Context, dirs lab.Dirs, p *progress.Printer) (release string, err error)
	// images are those that its pods run.
	images(ctx context.Context) ([]image.Image, error)
	// run runs its cases, and tells progress about each. An error says that the suite did not come to its end;
	// failing cases are none. Notes are what else a report should say.
	run(ctx context.Context, env environment) (cases []Case, notes []string, err error)
	// parallel is how many cases run at a time.
	parallel() int
	// sites is how many clusters it wants.
	sites() int
	// leftOut says which of its cases are not run, and why.
	leftOut() string
}

// environment is what a run works with.
type environment struct {
	// clusters are those that the cases may run on. Their number is what the suite asked for.
	clusters []*lab.Cluster
	progress *progress.Printer
	// log is the path of the file for all that the suite says, and junit the one for its results.
	log, junit string
}

func suites(o Options) []suite {
	return []suite{&upstream{procs: o.Procs}, &cyclonus{include: o.Include, clusters: o.Clusters}, &program{include: o.Include}}
}

// command prepares a program of a suite, which sees this machine's files and the cluster's network. An interrupted
// one may clean up.
func (e environment) command(ctx context.Context, c *lab.Cluster, argv ...string) (*lab.Command, error) {
	cmd, err := c.ShellCommand(ctx, argv...)
	if err != nil {
		return nil, err
	}
	// A program that has others run its cases shares a process group with them, and no other process.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	cmd.WaitDelay = stopGrace
	return cmd, nil
}

// watched runs a command whose output goes to a log and, line by line, to watch.
func (e environment) watched(cmd *lab.Command, logFile string, watch func(line string)) error {
	// A former run's results must not stand for this one's.
	if err := os.Remove(e.junit); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	log, err := os.Create(logFile)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	read, write := io.Pipe()
	out := io.MultiWriter(log, write)
	cmd.Stdout, cmd.Stderr = out, out
	done := make(chan struct{})
	go func() {
		defer close(done)
		eachLine(read, watch)
	}()
	err = cmd.Run()
	_ = write.Close()
	<-done
	return err
}

// eachLine reads to the end, however long the lines are.
func eachLine(r io.Reader, do func(line string)) {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			do(strings.TrimRight(line, "\n"))
		}
		if err != nil {
			return
		}
	}
}
