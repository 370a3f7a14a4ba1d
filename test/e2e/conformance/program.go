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
	programName = "cyclonus-program"
	// cyclonusAgnhost is the image that the release's pods run.
	cyclonusAgnhost = "registry.k8s.io/e2e-test-images/agnhost:2.43"
)

// program is the suite cyclonus, run by the command line of its release. That executes a command in a pod for each
// connection, which takes hours for all cases.
type program struct {
	built lab.Built
	// include are the tags of the cases to run; none means all.
	include []string
}

func (c *program) name() string { return programName }

func (c *program) sites() int { return 1 }

func (c *program) parallel() int { return 1 }

func (c *program) leftOut() string { return cyclonusLeftOut(c.include) }

func (c *program) build(ctx context.Context, dirs lab.Dirs, p *progress.Printer) (string, error) {
	var err error
	c.built, err = lab.BuildOptional(ctx, dirs, p, parts.Agnhost, parts.Cyclonus)
	return "Cyclonus " + c.built.Releases[parts.Cyclonus], err
}

func (c *program) images(ctx context.Context) ([]image.Image, error) {
	img, err := c.built.AgnhostImage(ctx, cyclonusAgnhost)
	return []image.Image{img}, err
}

func (c *program) run(ctx context.Context, env environment) ([]Case, []string, error) {
	if err := removeNamespaces(ctx, env.clusters[0]); err != nil {
		return nil, nil, err
	}
	cmd, err := env.command(ctx, env.clusters[0], c.built.Bin["cyclonus"], "generate",
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
		return nil, nil, err
	}
	watch := programWatch{progress: env.progress, total: "?", seconds: map[string]float64{}, wrong: map[string]string{}}
	if err := env.watched(cmd, env.log, watch.line); err != nil {
		return watch.cases(), nil, fmt.Errorf("cyclonus (output: %s): %w", env.log, err)
	}
	cases, err := readJUnit(env.junit)
	if err != nil {
		return watch.cases(), nil, fmt.Errorf("cyclonus (output: %s): %w", env.log, err)
	}
	cases, err = watch.complete(cases)
	return cases, nil, err
}

var (
	programTotal  = regexp.MustCompile(`^testing (\d+) cases`)
	programCase   = regexp.MustCompile(`^test (#\d+: .*)`)
	programStart  = regexp.MustCompile(`^starting test case (#\d+)$`)
	programWrong  = regexp.MustCompile(`^(?:Discrepancy found:)?(\d+) wrong, (\d+) ignored, (\d+) correct`)
	programFinish = regexp.MustCompile(`^finished policy (#\d+)$`)
)

// programWatch reads Cyclonus's output while it runs, because its results file has neither times nor reasons.
type programWatch struct {
	progress *progress.Printer
	total    string
	// names are the names of all cases, in order, with their numbers, without which they are not unique.
	names []string
	// ended are the names of the finished cases.
	ended []string
	began time.Time
	step  int
	now   string
	// seconds and wrong are each case's time, and what was wrong in it, by name.
	seconds map[string]float64
	wrong   map[string]string
}

func (w *programWatch) line(line string) {
	if m := programTotal.FindStringSubmatch(line); m != nil {
		w.total = m[1]
		w.progress.Step("%s cases to run", w.total)
	} else if m := programCase.FindStringSubmatch(line); m != nil {
		w.names = append(w.names, m[1])
	} else if programStart.MatchString(line) {
		w.began, w.step = time.Now(), 0
		if len(w.ended) < len(w.names) {
			w.now = w.names[len(w.ended)]
		}
	} else if m := programWrong.FindStringSubmatch(line); m != nil {
		w.step++
		if m[1] != "0" {
			w.wrong[w.now] += fmt.Sprintf("step %d: %s wrong, %s ignored, %s correct. ", w.step, m[1], m[2], m[3])
		}
	} else if programFinish.MatchString(line) {
		w.finish()
	}
}

func (w *programWatch) finish() {
	w.seconds[w.now] = time.Since(w.began).Seconds()
	w.ended = append(w.ended, w.now)
	verdict := "passed"
	if w.wrong[w.now] != "" {
		verdict = "FAILED, " + w.wrong[w.now]
	}
	w.progress.Step("%d of %s: %s, %.1f s: %s", len(w.ended), w.total, verdict, w.seconds[w.now], w.now)
}

// cases returns the cases that have finished according to the output. There is nothing else if Cyclonus did not
// finish.
func (w *programWatch) cases() []Case {
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
func (w *programWatch) complete(results []Case) ([]Case, error) {
	if len(results) != len(w.names) {
		return results, fmt.Errorf("cyclonus announced %d cases but has results of %d", len(w.names), len(results))
	}
	for i, name := range w.names {
		if !strings.HasSuffix(name, ": "+results[i].Name) {
			return results, fmt.Errorf("cyclonus: result %d is of %q, but %q was announced", i+1, results[i].Name, name)
		}
		results[i].Name, results[i].Seconds, results[i].Message = name, w.seconds[name], w.wrong[name]
	}
	return results, nil
}
