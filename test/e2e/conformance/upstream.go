package conformance

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strings"

	"github.com/netpol-agent/netpol-agent/test/e2e/lab"
	"github.com/netpol-agent/netpol-agent/test/e2e/lab/image"
	"github.com/netpol-agent/netpol-agent/test/e2e/lab/parts"
	"github.com/netpol-agent/netpol-agent/test/e2e/lab/progress"
)

const (
	upstreamName = "upstream"
	// upstreamAgnhost is the image that the pods of the suite's release run.
	upstreamAgnhost = "registry.k8s.io/e2e-test-images/agnhost:2.63.0"
)

// upstream is the NetworkPolicy part of the end-to-end suite of the Kubernetes release.
type upstream struct {
	built lab.Built
}

func (u *upstream) name() string { return upstreamName }

func (u *upstream) leftOut() string {
	return "specs of SCTP: they need the kernel's SCTP sockets"
}

func (u *upstream) build(ctx context.Context, dirs lab.Dirs, p *progress.Printer) (string, error) {
	var err error
	u.built, err = lab.BuildOptional(ctx, dirs, p, parts.Agnhost, parts.E2ETest)
	return "e2e.test of Kubernetes " + u.built.Releases[parts.E2ETest], err
}

func (u *upstream) images(ctx context.Context) ([]image.Image, error) {
	img, err := u.built.AgnhostImage(ctx, upstreamAgnhost)
	return []image.Image{img}, err
}

func (u *upstream) run(ctx context.Context, env environment) ([]Case, error) {
	cmd, err := env.command(ctx, u.built.Bin["e2e.test"],
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
	watch := ginkgoWatch{progress: env.progress, total: "?"}
	runErr := env.watched(cmd, watch.line)
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
	ended   = regexp.MustCompile(`^•( \[(?:FAILED|PANICKED|TIMEDOUT|INTERRUPTED|ABORTED)\])? \[([0-9.]+) seconds\]`)
	heading = regexp.MustCompile(`^\[sig-[a-z-]+\] `)
)

// ginkgoWatch reads what a suite says while it runs and tells progress of each case that ended.
type ginkgoWatch struct {
	progress *progress.Printer
	total    string
	done     int
	name     string
}

func (w *ginkgoWatch) line(line string) {
	switch {
	case willRun.MatchString(line):
		w.total = willRun.FindStringSubmatch(line)[1]
		w.progress.Step("%s cases to run", w.total)
	case heading.MatchString(line):
		w.name, _, _ = strings.Cut(line, " [Feature:")
	case ended.MatchString(line):
		m := ended.FindStringSubmatch(line)
		w.done++
		verdict := "passed"
		if m[1] != "" {
			verdict = "FAILED"
		}
		w.progress.Step("%d of %s: %s, %s s: %s", w.done, w.total, verdict, m[2], w.name)
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
