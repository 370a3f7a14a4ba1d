package conformance

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
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
	// netpolSpecs matches the specs of NetworkPolicy. Those that sctpSpecs matches too open SCTP sockets. Two
	// others that mention SCTP probe with TCP only.
	netpolSpecs = "Netpol"
	sctpSpecs   = "Feature:SCTPConnectivity"
)

// upstream is the NetworkPolicy part of the end-to-end suite of the Kubernetes release.
type upstream struct {
	built lab.Built
	// procs is the number of specs that run at a time, each in namespaces of its own.
	procs int
}

func (u *upstream) name() string { return upstreamName }

func (u *upstream) leftOut() string {
	return "specs of " + sctpSpecs + ": they need the kernel's SCTP sockets"
}

func (u *upstream) sites() int { return 1 }

func (u *upstream) parallel() int { return u.procs }

func (u *upstream) build(ctx context.Context, dirs lab.Dirs, p *progress.Printer) (string, error) {
	var err error
	u.built, err = lab.BuildOptional(ctx, dirs, p, parts.Agnhost, parts.E2ETest)
	return "e2e.test of Kubernetes " + u.built.Releases[parts.E2ETest], err
}

func (u *upstream) images(ctx context.Context) ([]image.Image, error) {
	img, err := u.built.AgnhostImage(ctx, upstreamAgnhost)
	return []image.Image{img}, err
}

func (u *upstream) run(ctx context.Context, env environment) ([]Case, []string, error) {
	cmd, err := env.command(ctx, env.clusters[0], u.built.Bin["ginkgo"],
		"--procs="+strconv.Itoa(u.procs),
		"--focus="+netpolSpecs,
		"--skip="+sctpSpecs,
		"-v",
		"--no-color",
		"--timeout=2h",
		"--output-dir="+filepath.Dir(env.junit),
		"--junit-report="+filepath.Base(env.junit),
		u.built.Bin["e2e.test"],
		"--",
		"--provider=skeleton",
		"--kubeconfig="+env.clusters[0].Kubeconfig,
		"--allowed-not-ready-nodes=-1",
		"--minStartupPods=0",
	)
	if err != nil {
		return nil, nil, err
	}
	watch := ginkgoWatch{progress: env.progress, total: "?", parallel: u.procs > 1}
	runErr := env.watched(cmd, env.log, watch.line)
	// The exit status is 1 if specs fail. The results say which.
	var exit *exec.ExitError
	if runErr != nil && !errors.As(runErr, &exit) {
		return nil, nil, fmt.Errorf("e2e.test: %w", runErr)
	}
	cases, err := readJUnit(env.junit)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("e2e.test (output: %s): %w", env.log, runErr), err)
	}
	asked := askedFor(cases)
	if runErr != nil && count(asked, Failed) == 0 {
		return asked, nil, fmt.Errorf("e2e.test (output: %s): %w, and no case failed", env.log, runErr)
	}
	return asked, nil, nil
}

// askedFor returns the cases that should run, and any others that failed. The results list all of the suite's
// specs.
func askedFor(cases []Case) []Case {
	var asked []Case
	for _, c := range cases {
		if c.Outcome != Skipped || (strings.Contains(c.Name, netpolSpecs) && !strings.Contains(c.Name, sctpSpecs)) {
			asked = append(asked, c)
		}
	}
	return asked
}

var (
	willRun = regexp.MustCompile(`^Will run (\d+) of \d+ specs`)
	ended   = regexp.MustCompile(`^•( \[(?:FAILED|PANICKED|TIMEDOUT|INTERRUPTED|ABORTED)\])? \[([0-9.]+) seconds\]`)
	heading = regexp.MustCompile(`^\[sig-[a-z-]+\] `)
)

// ginkgoWatch reads a suite's output while it runs and reports each finished case to progress.
type ginkgoWatch struct {
	progress *progress.Printer
	// parallel suites print a case's name after its result, others before it.
	parallel bool
	total    string
	done     int
	name     string
	// end is the result of a case whose name has not been printed yet.
	end []string
}

func (w *ginkgoWatch) line(line string) {
	switch {
	case willRun.MatchString(line):
		w.total = willRun.FindStringSubmatch(line)[1]
		w.progress.Step("%s cases to run", w.total)
	case heading.MatchString(line):
		w.name, _, _ = strings.Cut(line, " [Feature:")
		if w.end != nil {
			w.tell()
		}
	case ended.MatchString(line):
		w.end = ended.FindStringSubmatch(line)
		if !w.parallel {
			w.tell()
		}
	}
}

func (w *ginkgoWatch) tell() {
	w.done++
	verdict := "passed"
	if w.end[1] != "" {
		verdict = "FAILED"
	}
	w.progress.Step("%d of %s: %s, %s s: %s", w.done, w.total, verdict, w.end[2], w.name)
	w.end = nil
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
