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

// suite is a third-party test suite.
type suite interface {
	// name returns the name by which options select the suite.
	name() string
	// build builds what the suite needs, before there is a cluster. It returns the suite's release.
	build(ctx context.Context, dirs lab.Dirs, p *progress.Printer) (release string, err error)
	// images returns the images that its pods run.
	images(ctx context.Context) ([]image.Image, error)
	// run runs its cases and reports each to progress. An error means that the suite did not finish; failed cases
	// are not errors. Notes are further lines for the report.
	run(ctx context.Context, env environment) (cases []Case, notes []string, err error)
	// parallel returns how many cases run at a time.
	parallel() int
	// sites returns how many clusters it needs.
	sites() int
	// leftOut says which of its cases are not run, and why.
	leftOut() string
}

// environment is what a run works with.
type environment struct {
	// clusters are the clusters for the cases, as many as the suite asked for.
	clusters []*lab.Cluster
	progress *progress.Printer
	// log is the path of the file for the suite's output, and junit that of the file for its results.
	log, junit string
}

func suites(o Options) []suite {
	return []suite{&upstream{procs: o.Procs}, &cyclonus{include: o.Include, clusters: o.Clusters}, &program{include: o.Include}}
}

// command prepares a suite's program. It sees this machine's files and the cluster's network, and may clean up
// after an interrupt.
func (e environment) command(ctx context.Context, c *lab.Cluster, argv ...string) (*lab.Command, error) {
	cmd, err := c.ShellCommand(ctx, argv...)
	if err != nil {
		return nil, err
	}
	// The program gets its own process group, together with the processes that run its cases.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	cmd.WaitDelay = stopGrace
	return cmd, nil
}

// watched runs a command whose output goes to a log and, line by line, to watch.
func (e environment) watched(cmd *lab.Command, logFile string, watch func(line string)) error {
	// The results of an earlier run must not be taken for this run's.
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

// eachLine reads to the end and calls do for each line, however long.
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
