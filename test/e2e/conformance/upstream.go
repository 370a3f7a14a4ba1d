package conformance

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/netpol-agent/netpol-agent/test/e2e/lab"
	"github.com/netpol-agent/netpol-agent/test/e2e/lab/parts"
	"github.com/netpol-agent/netpol-agent/test/e2e/lab/progress"
)

const (
	upstreamName = "upstream"
	// upstreamAgnhost is the image that the pods of the suite's release run.
	upstreamAgnhost = "registry.k8s.io/e2e-test-images/agnhost:2.63.0"
	// stopGrace is how long the suite may clean up after an interruption.
	stopGrace = 30 * time.Second
)

// upstream is the NetworkPolicy part of the end-to-end suite of the Kubernetes release.
type upstream struct {
	built lab.Built
}

func (u *upstream) name() string { return upstreamName }

func (u *upstream) leftOut() string {
	return "specs of SCTP: they need the kernel's SCTP sockets"
}

func (u *upstream) prepare(ctx context.Context, env environment) (string, error) {
	var err error
	u.built, err = lab.BuildOptional(ctx, env.dirs, env.progress, parts.Agnhost, parts.E2ETest)
	if err != nil {
		return "", err
	}
	img, err := u.built.AgnhostImage(ctx, upstreamAgnhost)
	if err != nil {
		return "", err
	}
	release := "e2e.test of Kubernetes " + u.built.Releases[parts.E2ETest]
	return release, env.cluster.ImportImages(ctx, img)
}

func (u *upstream) run(ctx context.Context, env environment) ([]Case, error) {
	cmd, err := env.cluster.ShellCommand(ctx, u.built.Bin["e2e.test"],
		"--provider=skeleton",
		"--kubeconfig="+env.cluster.Kubeconfig,
		"--allowed-not-ready-nodes=-1",
		"--minStartupPods=0",
		"--ginkgo.focus=Netpol",
		"--ginkgo.skip=SCTP",
		"--ginkgo.v",
		"--ginkgo.no-color",
		"--ginkgo.timeout=2h",
		"--ginkgo.junit-report="+env.junit,
	)
	if err != nil {
		return nil, err
	}
	log, err := os.Create(env.log)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	read, write := io.Pipe()
	out := io.MultiWriter(log, write)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.WaitDelay = stopGrace
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		watchGinkgo(read, env.progress)
	}()
	runErr := cmd.Run()
	_ = write.Close()
	<-watched
	// Failing specs make the status 1; the results say which.
	var exit *exec.ExitError
	if runErr != nil && !errors.As(runErr, &exit) {
		return nil, fmt.Errorf("e2e.test: %w", runErr)
	}
	cases, err := readJUnit(env.junit)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("e2e.test (output: %s): %w", env.log, runErr), err)
	}
	// The suite lists all of its specs: those that were not asked for are no part of the result.
	var asked []Case
	for _, c := range cases {
		if c.Outcome != Skipped || (strings.Contains(c.Name, "Netpol") && !strings.Contains(c.Name, "SCTP")) {
			asked = append(asked, c)
		}
	}
	if runErr != nil && count(asked, Failed) == 0 {
		return asked, fmt.Errorf("e2e.test (output: %s): %w, and no case failed", env.log, runErr)
	}
	return asked, nil
}

var (
	willRun = regexp.MustCompile(`^Will run (\d+) of \d+ specs`)
	ended   = regexp.MustCompile(`^(•|S|P|I)( \[(?:FAILED|PANICKED|TIMEDOUT|INTERRUPTED)\])? .*\[([0-9.]+) seconds\]`)
	heading = regexp.MustCompile(`^\[sig-[a-z-]+\] `)
)

// watchGinkgo reads what a suite says while it runs and tells progress of each case that ended.
func watchGinkgo(r io.Reader, p *progress.Printer) {
	lines := bufio.NewReader(r)
	total, done, name := "?", 0, ""
	for {
		line, err := lines.ReadString('\n')
		line = strings.TrimRight(line, "\n")
		switch {
		case willRun.MatchString(line):
			total = willRun.FindStringSubmatch(line)[1]
			p.Step("%s cases to run", total)
		case heading.MatchString(line):
			name = line
		case ended.MatchString(line):
			m := ended.FindStringSubmatch(line)
			done++
			verdict := "passed"
			if m[2] != "" {
				verdict = "FAILED"
			}
			p.Step("%d of %s: %s, %s s: %s", done, total, verdict, m[3], name)
		}
		if err != nil {
			return
		}
	}
}

func count(cases []Case, o Outcome) int {
	n := 0
	for _, c := range cases {
		if c.Outcome == o {
			n++
		}
	}
	return n
}
