package conformance

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/netpol-agent/netpol-agent/test/e2e/lab"
	"github.com/netpol-agent/netpol-agent/test/e2e/lab/progress"
)

// ErrFailed says that the suite ran and that not all is as it ought to be; the report says what.
var ErrFailed = errors.New("not every case passed")

// downTimeout is how long the end of the cluster may take.
const downTimeout = 2 * time.Minute

// Execute starts the cluster, unless it is up, and the agent on its nodes, runs the suite as often as is asked for
// and writes one report about all of it. It gives ErrFailed if the report is not good.
func Execute(ctx context.Context, dirs lab.Dirs, o Options, p *progress.Printer) (err error) {
	if err := o.Validate(); err != nil {
		return err
	}
	x := execution{options: o, suite: find(o), base: filepath.Join(o.Results, o.name()), dirs: dirs, progress: p}
	// What takes minutes comes before the cluster, which would wait for it.
	if x.release, err = x.suite.build(ctx, dirs, p); err != nil {
		return fmt.Errorf("build the suite %s: %w", o.Suite, err)
	}
	if err := buildAgents(ctx, dirs, o.Backend); err != nil {
		return fmt.Errorf("build the agent: %w", err)
	}
	_, loadErr := lab.Load(dirs.State)
	c, err := lab.Up(ctx, dirs, o.Lab, p)
	if err != nil {
		return err
	}
	if !o.Keep {
		defer func() {
			// The context may be the reason to end; what was started has to go all the same.
			clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), downTimeout)
			defer cancel()
			err = errors.Join(err, lab.Down(clean, dirs, p))
		}()
	}
	x.cluster = c
	return x.execute(ctx, loadErr == nil)
}

func find(o Options) suite {
	for _, s := range suites(o) {
		if s.name() == o.Suite {
			return s
		}
	}
	return nil
}

// execution is one call of the command.
type execution struct {
	options  Options
	suite    suite
	release  string
	dirs     lab.Dirs
	cluster  *lab.Cluster
	agents   agents
	progress *progress.Printer
	// base is the path of the report without its ending.
	base string
}

func (x *execution) execute(ctx context.Context, used bool) error {
	p := x.progress
	images, err := x.suite.images(ctx)
	if err == nil {
		err = x.cluster.ImportImages(ctx, images...)
	}
	if err != nil {
		return fmt.Errorf("images of the suite %s: %w", x.suite.name(), err)
	}
	p.Step("starting the agent on %d nodes", len(x.cluster.Nodes))
	if x.agents, err = startAgents(ctx, x.cluster, x.dirs, x.options.Backend); err != nil {
		return err
	}
	report := x.report(ctx)
	for i := range x.options.Runs {
		run := x.run(ctx, i+1, used)
		used = true
		report.Runs = append(report.Runs, run)
		// Whatever comes next: what was found out is kept.
		if err := report.write(x.base); err != nil {
			return fmt.Errorf("report: %w", err)
		}
		p.Step("%s", run)
		for _, wrong := range append(run.FailedNames, run.Trouble...) {
			p.Step("  wrong: %s", wrong)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	p.Step("report: %s.md and .json", x.base)
	if !report.OK() {
		return ErrFailed
	}
	return nil
}

// run runs the suite once.
func (x *execution) run(ctx context.Context, number int, used bool) Run {
	cluster := "fresh"
	if used {
		cluster = "used"
	}
	prefix := fmt.Sprintf("%s_run%d", x.base, number)
	env := environment{cluster: x.cluster, progress: x.progress, log: prefix + ".log", junit: prefix + ".xml"}
	x.progress.Step("run %d of %d of the suite %s, on a %s cluster (output: %s)", number, x.options.Runs, x.suite.name(), cluster, env.log)
	trouble := []string{}
	began := time.Now()
	cases, err := x.suite.run(ctx, env)
	took := time.Since(began)
	if err != nil {
		trouble = append(trouble, err.Error())
	}
	trouble = append(trouble, x.agents.check(ctx)...)
	run := newRun(cluster, began, took, cases, trouble)
	if !run.OK() {
		if err := keepEvidence(ctx, x.cluster, x.agents, prefix+"_evidence"); err != nil {
			run.Trouble = append(run.Trouble, "evidence: "+err.Error())
		}
	}
	return run
}

func (x *execution) report(ctx context.Context) Report {
	o := x.options
	return Report{
		Suite: o.Suite, Release: x.release, LeftOut: x.suite.leftOut(), Agent: revision(ctx, x.dirs.Repo),
		Backend: o.Backend, IPFamily: o.Lab.IPFamily, ProxyMode: o.Lab.ProxyMode, FlannelBackend: o.Lab.FlannelBackend,
		Nodes: o.Lab.Nodes, Parallel: x.suite.parallel(),
	}
}

// revision names the checkout that the agent was built from.
func revision(ctx context.Context, repo string) string {
	cmd := exec.CommandContext(ctx, "git", "describe", "--tags", "--always", "--dirty")
	cmd.Dir = repo
	out, err := cmd.Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}
