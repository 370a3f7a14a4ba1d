package conformance

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/netpol-agent/netpol-agent/test/e2e/lab"
	"github.com/netpol-agent/netpol-agent/test/e2e/lab/image"
	"github.com/netpol-agent/netpol-agent/test/e2e/lab/parts"
	"github.com/netpol-agent/netpol-agent/test/e2e/lab/progress"
)

const (
	cyclonusName = "cyclonus"
	// cyclonusAgnhost is the image that the release's pods run.
	cyclonusAgnhost = "registry.k8s.io/e2e-test-images/agnhost:2.43"
)

// cyclonusNamespaces are those that it makes its pods in.
var cyclonusNamespaces = []string{"x", "y", "z"}

// cyclonus is the generator of policies of that name: it applies policies, probes every pair of pods and compares
// with its own simulation.
type cyclonus struct {
	built lab.Built
	// include are the tags of the cases to run; none means all.
	include []string
}

func (c *cyclonus) name() string { return cyclonusName }

func (c *cyclonus) parallel() int { return 1 }

func (c *cyclonus) leftOut() string {
	out := "cases of SCTP: they need the kernel's SCTP sockets"
	if len(c.include) > 0 {
		out += "; cases without any of the tags " + strings.Join(c.include, ", ") + ", as asked"
	}
	return out
}

func (c *cyclonus) build(ctx context.Context, dirs lab.Dirs, p *progress.Printer) (string, error) {
	var err error
	c.built, err = lab.BuildOptional(ctx, dirs, p, parts.Agnhost, parts.Cyclonus)
	return "Cyclonus " + c.built.Releases[parts.Cyclonus], err
}

func (c *cyclonus) images(ctx context.Context) ([]image.Image, error) {
	img, err := c.built.AgnhostImage(ctx, cyclonusAgnhost)
	return []image.Image{img}, err
}

func (c *cyclonus) run(ctx context.Context, env environment) ([]Case, error) {
	if err := removeNamespaces(ctx, env.cluster); err != nil {
		return nil, err
	}
	cmd, err := env.command(ctx, c.built.Bin["cyclonus"], "generate",
		"--destination-type", "pod-ip",
		"--server-protocol", "TCP,UDP",
		"--ignore-loopback",
		"--exclude", "sctp",
		"--include", strings.Join(c.include, ","),
		"--perturbation-wait-seconds", "1",
		"--job-timeout-seconds", "1",
		"--retries", "1",
		"--junit-results-file", env.junit,
	)
	if err != nil {
		return nil, err
	}
	watch := cyclonusWatch{progress: env.progress, total: "?", seconds: map[string]float64{}, wrong: map[string]string{}}
	if err := env.watched(cmd, watch.line); err != nil {
		return watch.cases(), fmt.Errorf("cyclonus (output: %s): %w", env.log, err)
	}
	cases, err := readJUnit(env.junit)
	if err != nil {
		return watch.cases(), fmt.Errorf("cyclonus (output: %s): %w", env.log, err)
	}
	return watch.complete(cases)
}

// removeNamespaces removes what a former run left, and waits until it is gone.
func removeNamespaces(ctx context.Context, c *lab.Cluster) error {
	args := append([]string{"delete", "namespace", "--ignore-not-found", "--wait", "--timeout=2m"}, cyclonusNamespaces...)
	cmd, err := c.KubectlCommand(ctx, args...)
	if err != nil {
		return err
	}
	if _, err := cmd.Output(); err != nil {
		return fmt.Errorf("remove the namespaces of a former run: %w", err)
	}
	return nil
}

var (
	cyclonusTotal  = regexp.MustCompile(`^testing (\d+) cases`)
	cyclonusCase   = regexp.MustCompile(`^test (#\d+: .*)`)
	cyclonusStart  = regexp.MustCompile(`^starting test case (#\d+)$`)
	cyclonusWrong  = regexp.MustCompile(`^(?:Discrepancy found:)?(\d+) wrong, (\d+) ignored, (\d+) correct`)
	cyclonusFinish = regexp.MustCompile(`^finished policy (#\d+)$`)
)

// cyclonusWatch reads what Cyclonus says while it runs: its results file has neither times nor reasons.
type cyclonusWatch struct {
	progress *progress.Printer
	total    string
	// names are those of all cases, by their order, with their number: they are not unique without.
	names []string
	// ended are those of the cases that ended.
	ended []string
	began time.Time
	step  int
	now   string
	// seconds and wrong are each case's time, and what was wrong in it, by name.
	seconds map[string]float64
	wrong   map[string]string
}

func (w *cyclonusWatch) line(line string) {
	if m := cyclonusTotal.FindStringSubmatch(line); m != nil {
		w.total = m[1]
		w.progress.Step("%s cases to run", w.total)
	} else if m := cyclonusCase.FindStringSubmatch(line); m != nil {
		w.names = append(w.names, m[1])
	} else if cyclonusStart.MatchString(line) {
		w.began, w.step = time.Now(), 0
		if len(w.ended) < len(w.names) {
			w.now = w.names[len(w.ended)]
		}
	} else if m := cyclonusWrong.FindStringSubmatch(line); m != nil {
		w.step++
		if m[1] != "0" {
			w.wrong[w.now] += fmt.Sprintf("step %d: %s wrong, %s ignored, %s correct. ", w.step, m[1], m[2], m[3])
		}
	} else if cyclonusFinish.MatchString(line) {
		w.finish()
	}
}

func (w *cyclonusWatch) finish() {
	w.seconds[w.now] = time.Since(w.began).Seconds()
	w.ended = append(w.ended, w.now)
	verdict := "passed"
	if w.wrong[w.now] != "" {
		verdict = "FAILED, " + w.wrong[w.now]
	}
	w.progress.Step("%d of %s: %s, %.1f s: %s", len(w.ended), w.total, verdict, w.seconds[w.now], w.now)
}

// cases are those that ended, as far as the output tells: all there is if Cyclonus did not come to its end.
func (w *cyclonusWatch) cases() []Case {
	var out []Case
	for _, name := range w.ended {
		c := Case{Name: name, Outcome: Passed, Seconds: w.seconds[name], Message: w.wrong[name]}
		if c.Message != "" {
			c.Outcome = Failed
		}
		out = append(out, c)
	}
	return out
}

// complete adds numbers, times and reasons to the results, which are in the order of the run.
func (w *cyclonusWatch) complete(results []Case) ([]Case, error) {
	if len(results) != len(w.names) {
		return results, fmt.Errorf("cyclonus announced %d cases and has results of %d", len(w.names), len(results))
	}
	for i, name := range w.names {
		if !strings.HasSuffix(name, ": "+results[i].Name) {
			return results, fmt.Errorf("cyclonus: result %d is of %q, announced was %q", i+1, results[i].Name, name)
		}
		results[i].Name, results[i].Seconds, results[i].Message = name, w.seconds[name], w.wrong[name]
	}
	return results, nil
}
