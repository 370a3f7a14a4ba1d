package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/netpol-agent/netpol-agent/test/e2e/lab"
	"github.com/netpol-agent/netpol-agent/test/e2e/lab/image"
	"github.com/netpol-agent/netpol-agent/test/e2e/lab/parts"
	"github.com/netpol-agent/netpol-agent/test/e2e/lab/progress"
)

const (
	cyclonusName = "cyclonus"
	// cyclonusWorker is the image that the pods of the release's batch mode run.
	cyclonusWorker = "docker.io/mfenwick100/cyclonus-worker:latest"
)

// cyclonusNamespaces are the namespaces in which it creates its pods.
var cyclonusNamespaces = []string{"x", "y", "z"}

// cyclonus is the generator of policies of that name: it applies policies, probes every pair of pods and compares
// with its own simulation. Its namespaces have fixed names, so cases that run at the same time need clusters of
// their own.
type cyclonus struct {
	built lab.Built
	// include are the tags of the cases to run; none means all.
	include []string
	// clusters is how many clusters share the cases.
	clusters int
}

func (c *cyclonus) name() string { return cyclonusName }

func (c *cyclonus) parallel() int { return c.clusters }

func (c *cyclonus) sites() int { return c.clusters }

func (c *cyclonus) leftOut() string { return cyclonusLeftOut(c.include) }

func cyclonusLeftOut(include []string) string {
	out := "cases of SCTP: they need the kernel's SCTP sockets"
	if len(include) > 0 {
		out += "; cases without any of the tags " + strings.Join(include, ", ") + ", as asked"
	}
	return out
}

func (c *cyclonus) build(ctx context.Context, dirs lab.Dirs, p *progress.Printer) (string, error) {
	var err error
	c.built, err = lab.BuildOptional(ctx, dirs, p, parts.Agnhost, parts.Cyclonus)
	return "Cyclonus " + c.built.Releases[parts.Cyclonus] + ", batch mode", err
}

// images returns the worker's image. It holds the worker, and agnhost, which the worker runs for each connection.
func (c *cyclonus) images(context.Context) ([]image.Image, error) {
	return []image.Image{{
		Name:       cyclonusWorker,
		Entrypoint: []string{"/worker"},
		Dirs:       []string{"tmp", "etc", "root"},
		Files: []image.File{
			{Path: "worker", Source: c.built.Bin["cyclonus-worker"]},
			{Path: "agnhost", Source: c.built.Bin["agnhost-quick"]},
		},
	}}, nil
}

// run runs a part of the cases on each cluster.
func (c *cyclonus) run(ctx context.Context, env environment) ([]Case, []string, error) {
	known, err := readContradictions(contradictionsFile)
	if err != nil {
		return nil, nil, err
	}
	watch := &cyclonusWatch{progress: env.progress, known: known}
	// A failure on one cluster must not discard the results of the others.
	var group errgroup.Group
	for i, cluster := range env.clusters {
		group.Go(func() error {
			log := strings.TrimSuffix(env.log, ".log") + "_cluster" + strconv.Itoa(i+1) + ".log"
			if err := c.runShard(ctx, env, cluster, i, log, watch); err != nil {
				return fmt.Errorf("cyclonus on cluster %d (output: %s): %w", i+1, log, err)
			}
			return nil
		})
	}
	err = group.Wait()
	return watch.cases(), watch.notes(), errors.Join(err, watch.complete())
}

func (c *cyclonus) runShard(ctx context.Context, env environment, cluster *lab.Cluster, shard int, log string, watch *cyclonusWatch) error {
	if err := removeNamespaces(ctx, cluster); err != nil {
		return err
	}
	cmd, err := env.command(ctx, cluster, c.built.Bin["cyclonus-batch"],
		"--include="+strings.Join(c.include, ","),
		"--shard="+strconv.Itoa(shard),
		"--shards="+strconv.Itoa(len(env.clusters)),
	)
	if err != nil {
		return err
	}
	return env.watched(cmd, filepath.Clean(log), watch.line)
}

// removeNamespaces removes the namespaces that an earlier run left, and waits until they are gone.
func removeNamespaces(ctx context.Context, c *lab.Cluster) error {
	args := append([]string{"delete", "namespace", "--ignore-not-found", "--wait", "--timeout=2m"}, cyclonusNamespaces...)
	cmd, err := c.KubectlCommand(ctx, args...)
	if err != nil {
		return err
	}
	if _, err := cmd.Output(); err != nil {
		return fmt.Errorf("remove the namespaces of an earlier run: %w", err)
	}
	return nil
}

// cyclonusResult is what the program batch prints about a case.
type cyclonusResult struct {
	Number      int            `json:"number"`
	Description string         `json:"description"`
	Seconds     float64        `json:"seconds"`
	Steps       []cyclonusStep `json:"steps"`
	Error       string         `json:"error"`
}

// name contains the number, because descriptions are not unique.
func (r cyclonusResult) name() string { return fmt.Sprintf("#%d: %s", r.Number, r.Description) }

type cyclonusStep struct {
	Tries   int    `json:"tries"`
	Cells   int    `json:"cells"`
	Notable []cell `json:"notable"`
}

// cyclonusWatch reads the program's output from all clusters and reports each finished case to progress.
type cyclonusWatch struct {
	progress *progress.Printer
	known    contradictions

	mu sync.Mutex
	// announced is the number of cases that the program will run.
	announced int
	results   map[int]cyclonusResult
	trouble   error
}

func (w *cyclonusWatch) line(line string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if text, ok := strings.CutPrefix(line, "@cases "); ok {
		var number, all int
		if _, err := fmt.Sscanf(text, "%d of %d", &number, &all); err != nil {
			w.trouble = errors.Join(w.trouble, fmt.Errorf("cyclonus: %q: %w", line, err))
		}
		w.announced += number
		w.progress.Step("%d cases to run, of %d", number, all)
	}
	if text, ok := strings.CutPrefix(line, "@case "); ok {
		var r cyclonusResult
		if err := json.Unmarshal([]byte(text), &r); err != nil {
			w.trouble = errors.Join(w.trouble, fmt.Errorf("cyclonus: %q: %w", line, err))
			return
		}
		w.add(r)
	}
}

func (w *cyclonusWatch) add(r cyclonusResult) {
	if w.results == nil {
		w.results = map[int]cyclonusResult{}
	}
	if _, twice := w.results[r.Number]; twice {
		w.trouble = errors.Join(w.trouble, fmt.Errorf("cyclonus: two results of %s", r.name()))
	}
	w.results[r.Number] = r
	c, _ := w.known.judge(r)
	verdict := string(c.Outcome)
	if c.Outcome == Failed {
		verdict = "FAILED, " + oneLine(c.Message)
	}
	w.progress.Step("%d of %d: %s, %.1f s: %s", len(w.results), w.announced, verdict, c.Seconds, c.Name)
}

// cases returns the finished cases, in the order of the generator.
func (w *cyclonusWatch) cases() []Case {
	var out []Case
	for _, number := range w.numbers() {
		c, _ := w.known.judge(w.results[number])
		out = append(out, c)
	}
	return out
}

func (w *cyclonusWatch) numbers() []int {
	var all []int
	for number := range w.results {
		all = append(all, number)
	}
	slices.Sort(all)
	return all
}

// notes returns how many cells were compared, how many steps were probed again, and in how many cells the list of
// contradictions decided.
func (w *cyclonusWatch) notes() []string {
	cells, self, again := 0, 0, 0
	for _, r := range w.results {
		_, n := w.known.judge(r)
		self += n
		for _, s := range r.Steps {
			cells += s.Cells
			if s.Tries > 1 {
				again++
			}
		}
	}
	return []string{
		fmt.Sprintf("%d connections were compared; %d steps were probed a second time", cells, again),
		fmt.Sprintf("in %d of them Cyclonus expects that a pod does not reach itself, and it does: %s", self, w.known.Self),
	}
}

// complete returns an error if an announced case has no result.
func (w *cyclonusWatch) complete() error {
	if w.announced != len(w.results) {
		return errors.Join(w.trouble, fmt.Errorf("cyclonus announced %d cases but has results of %d", w.announced, len(w.results)))
	}
	return w.trouble
}
