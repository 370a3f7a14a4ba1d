// Command bench compares the agent, with each of its backends, with the figures that it promises: from an event to the
// committed transaction, from a start to enforced rules, memory, and what the rules cost packets in the kernel.
//
// It needs root and works in network namespaces that it creates and that end with it. It exits with status 1 if a limit
// is missed or something fails. Times are wall clock times: a section that misses a limit is repeated, up to -tries
// times, and every try is shown.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/netpol-agent/netpol-agent/test/bench/cluster"
	"github.com/netpol-agent/netpol-agent/test/bench/report"
	"github.com/netpol-agent/netpol-agent/test/bench/rules"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options are the flags of a run.
type options struct {
	size    cluster.Size
	samples int
	// slowSamples is samples for backends that run programs.
	slowSamples int
	starts      int
	pause       time.Duration
	trials      int
	rounds      int
	batch       int
	tries       int
	only        string
	backends    []string
	json        string
	profile     string
}

// section is a group of figures that are measured together.
type section struct {
	name    string
	measure func(o options, backend string) ([]report.Figure, error)
	// together means that one measurement compares the backends; otherwise each backend is measured on its own.
	together bool
	notes    []string
}

var sections = []section{
	{name: "memory", measure: measureMemory},
	{name: "start", measure: measureStart},
	{name: "events", measure: measureEvents},
	{name: "kernel", measure: measureKernel, together: true, notes: baselines},
}

func parse(args []string) (options, error) {
	var o options
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.IntVar(&o.size.Pods, "pods", 10000, "pods of the cluster")
	fs.IntVar(&o.size.Policies, "policies", 1000, "policies of the cluster")
	fs.IntVar(&o.size.Namespaces, "namespaces", 100, "namespaces of the cluster")
	fs.IntVar(&o.size.Local, "local", 100, "pods of the node that is measured")
	fs.IntVar(&o.size.LocalNamespaces, "local-namespaces", 40, "namespaces to which the pods of that node belong")
	fs.IntVar(&o.samples, "samples", 200, "events of each kind")
	fs.IntVar(&o.slowSamples, "slow-samples", 40, "events of each kind for the backends that run programs")
	fs.DurationVar(&o.pause, "pause", 5*time.Millisecond, "pause between two events")
	fs.IntVar(&o.starts, "starts", 7, "starts of the agent")
	fs.IntVar(&o.trials, "trials", 6, "how often the kernel measurement creates its networks anew")
	fs.IntVar(&o.rounds, "rounds", 90, "rounds of the kernel measurement; every alternative has a turn in each")
	fs.IntVar(&o.batch, "batch", 200, "connections in one turn")
	fs.IntVar(&o.tries, "tries", 3, "how often a section that misses a limit is measured at most")
	fs.StringVar(&o.only, "only", "", "comma-separated sections to measure: "+strings.Join(names(), ", "))
	backends := fs.String("backends", strings.Join(rules.Backends(), ","), "comma-separated backends to measure")
	fs.StringVar(&o.json, "json", "", "file to write the figures to, as JSON")
	fs.StringVar(&o.profile, "cpuprofile", "", "file to write a CPU profile to")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if fs.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	if min(o.samples, o.slowSamples, o.starts, o.trials, o.rounds, o.batch, o.tries) < 1 {
		return o, errors.New("samples, slow-samples, starts, trials, rounds, batch and tries must be positive")
	}
	for _, b := range strings.Split(*backends, ",") {
		if !slices.Contains(rules.Backends(), b) {
			return o, fmt.Errorf("unknown backend %q; want one of %s", b, strings.Join(rules.Backends(), ", "))
		}
		o.backends = append(o.backends, b)
	}
	for _, name := range wanted(o.only) {
		if !slices.Contains(names(), name) {
			return o, fmt.Errorf("unknown section %q; want one of %s", name, strings.Join(names(), ", "))
		}
	}
	return o, o.size.Validate()
}

func names() []string {
	var out []string
	for _, s := range sections {
		out = append(out, s.name)
	}
	return out
}

func wanted(only string) []string {
	if only == "" {
		return names()
	}
	return strings.Split(only, ",")
}

func run(args []string, out io.Writer) (err error) {
	o, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	unlock, err := ownLock()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	stop, err := startProfile(o.profile)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	r := &report.Report{Environment: report.ReadEnvironment(), Size: o.size}
	fmt.Fprintln(out, r.Environment)
	fmt.Fprintf(out, "%d pods and %d policies in %d namespaces; %d pods of %d namespaces are local\n",
		o.size.Pods, o.size.Policies, o.size.Namespaces, o.size.Local, o.size.LocalNamespaces)
	for _, s := range sections {
		if !slices.Contains(wanted(o.only), s.name) {
			continue
		}
		of := o.backends
		if s.together {
			of = []string{""}
		}
		for _, b := range of {
			if err := measure(s, b, o, r, out); err != nil {
				return fmt.Errorf("%s: %w", strings.TrimSpace(s.name+" "+b), err)
			}
		}
	}
	r.PrintBackends(out, o.backends)
	if err := writeJSON(o.json, r); err != nil {
		return err
	}
	if missed := r.Misses(); len(missed) > 0 {
		return fmt.Errorf("%d limits missed:\n  %s", len(missed), strings.Join(missed, "\n  "))
	}
	fmt.Fprintln(out, "\nevery limit is met")
	return nil
}

// ownLock gives the legacy iptables programs a lock of their own, so that the times do not include what others on this
// machine do with theirs.
func ownLock() (remove func() error, err error) {
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return nil, err
	}
	if err := os.Setenv("XTABLES_LOCKFILE", filepath.Join(dir, "xtables.lock")); err != nil {
		return nil, err
	}
	return func() error { return os.RemoveAll(dir) }, nil
}

// measure measures a section until no limit is missed or the tries are used up.
func measure(s section, backend string, o options, r *report.Report, out io.Writer) error {
	for n := range o.tries {
		runtime.GC()
		figures, err := s.measure(o, backend)
		if err != nil {
			return err
		}
		t := report.Try{Section: s.name, Backend: backend, Notes: s.notes, Number: n + 1, Load: report.Load(), Figures: figures}
		t.Print(out)
		r.Tries = append(r.Tries, t)
		if len(t.Missed()) == 0 {
			return nil
		}
	}
	return nil
}

func writeJSON(path string, r *report.Report) (err error) {
	if path == "" {
		return nil
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return r.JSON(f)
}
