package conformance

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/netpol-agent/netpol-agent/test/e2e/lab"
	"github.com/netpol-agent/netpol-agent/test/e2e/lab/progress"
)

// ErrFailed means that the suite ran and something failed. The report says what.
var ErrFailed = errors.New("not every case passed")

// downTimeout is how long stopping the clusters may take.
const downTimeout = 2 * time.Minute

// Execute starts the clusters, unless they are up, installs the agent on their nodes, runs the suite as often as
// the options ask, and writes and returns one report about all runs. It returns ErrFailed if the report is not OK.
func Execute(ctx context.Context, dirs lab.Dirs, o Options, p *progress.Printer) (report Report, err error) {
	if err := o.Validate(); err != nil {
		return report, err
	}
	x := execution{options: o, suite: find(o), base: filepath.Join(o.Results, o.name()), dirs: dirs, progress: p}
	// Build before the clusters start: it takes minutes, and they would wait for it.
	if x.release, err = x.suite.build(ctx, dirs, p); err != nil {
		return report, fmt.Errorf("build the suite %s: %w", o.Suite, err)
	}
	if err := buildAgents(ctx, dirs, o.Backend); err != nil {
		return report, fmt.Errorf("build the agent: %w", err)
	}
	if !o.Keep {
		defer func() {
			// Clean up even if the context is canceled.
			clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), downTimeout)
			defer cancel()
			err = errors.Join(err, x.down(clean))
		}()
	}
	used, err := x.up(ctx)
	if err != nil {
		return report, err
	}
	return x.execute(ctx, used)
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
	sites    []site
	progress *progress.Printer
	// base is the path of the report without its extension.
	base string
}

// site is a cluster with its agents.
type site struct {
	dirs    lab.Dirs
	cluster *lab.Cluster
	agents  agents
}

// up starts as many clusters as the suite asks for, one after the other, and reports whether one was up before.
func (x *execution) up(ctx context.Context) (used bool, err error) {
	for i := range x.suite.sites() {
		s := site{dirs: x.dirs}
		if i > 0 {
			s.dirs.State = fmt.Sprintf("%s-%d", x.dirs.State, i+1)
		}
		if _, err := lab.Load(s.dirs.State); err == nil {
			used = true
		}
		if s.cluster, err = lab.Up(ctx, s.dirs, x.options.Lab, x.progress); err != nil {
			return used, err
		}
		x.sites = append(x.sites, s)
	}
	return used, nil
}

// down stops the clusters that were started.
func (x *execution) down(ctx context.Context) error {
	var all error
	for _, s := range x.sites {
		all = errors.Join(all, lab.Down(ctx, s.dirs, x.progress))
	}
	return all
}

// prepare loads the suite's images into every cluster and installs the agents.
func (x *execution) prepare(ctx context.Context) error {
	images, err := x.suite.images(ctx)
	if err != nil {
		return fmt.Errorf("images of the suite %s: %w", x.suite.name(), err)
	}
	x.progress.Step("starting the agent on %d nodes", len(x.sites)*x.options.Lab.Nodes)
	g, all := errgroup.WithContext(ctx)
	for i := range x.sites {
		s := &x.sites[i]
		g.Go(func() error {
			if err := s.cluster.ImportImages(all, images...); err != nil {
				return fmt.Errorf("images of the suite %s: %w", x.suite.name(), err)
			}
			var err error
			s.agents, err = startAgents(all, s.cluster, s.dirs, x.options.Backend)
			return err
		})
	}
	return g.Wait()
}

func (x *execution) execute(ctx context.Context, used bool) (Report, error) {
	p := x.progress
	if err := x.prepare(ctx); err != nil {
		return Report{}, err
	}
	report := x.report(ctx)
	for i := range x.options.Runs {
		run := x.run(ctx, i+1, used)
		used = true
		report.Runs = append(report.Runs, run)
		// Write the report after each run, so that a failure later on loses nothing.
		if err := report.write(x.base); err != nil {
			return report, fmt.Errorf("report: %w", err)
		}
		p.Step("%s", run)
		for _, wrong := range append(run.FailedNames, run.Trouble...) {
			p.Step("  wrong: %s", wrong)
		}
		if ctx.Err() != nil {
			return report, ctx.Err()
		}
	}
	p.Step("report: %s.md and .json", x.base)
	if !report.OK() {
		return report, ErrFailed
	}
	return report, nil
}

// run runs the suite once.
func (x *execution) run(ctx context.Context, number int, used bool) Run {
	cluster := "fresh"
	if used {
		cluster = "used"
	}
	prefix := fmt.Sprintf("%s_run%d", x.base, number)
	env := environment{progress: x.progress, log: prefix + ".log", junit: prefix + ".xml"}
	for _, s := range x.sites {
		env.clusters = append(env.clusters, s.cluster)
	}
	x.progress.Step("run %d of %d of the suite %s, on a %s cluster (output: %s)", number, x.options.Runs, x.suite.name(), cluster, env.log)
	trouble := []string{}
	began := time.Now()
	cases, notes, err := x.suite.run(ctx, env)
	took := time.Since(began)
	if err != nil {
		trouble = append(trouble, err.Error())
	}
	for _, s := range x.sites {
		trouble = append(trouble, s.agents.check(ctx)...)
	}
	run := newRun(cluster, began, took, cases, trouble)
	run.Notes = notes
	if !run.OK() {
		for i, s := range x.sites {
			if err := keepEvidence(ctx, s.cluster, s.agents, fmt.Sprintf("%s_evidence%d", prefix, i+1)); err != nil {
				run.Trouble = append(run.Trouble, "evidence: "+err.Error())
			}
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
