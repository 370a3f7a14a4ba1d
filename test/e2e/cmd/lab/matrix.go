package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/netpol-agent/netpol-agent/test/e2e/lab"
	"github.com/netpol-agent/netpol-agent/test/e2e/lab/check"
	"github.com/netpol-agent/netpol-agent/test/e2e/lab/progress"
)

// choices are the options that a matrix combines.
type choices struct {
	families, proxyModes, backends []string
}

// all lists every combination.
func (c choices) all() []lab.Options {
	var out []lab.Options
	for _, family := range c.families {
		for _, mode := range c.proxyModes {
			for _, backend := range c.backends {
				o := lab.DefaultOptions()
				o.IPFamily, o.ProxyMode, o.FlannelBackend = family, mode, backend
				out = append(out, o)
			}
		}
	}
	return out
}

// combination returns the name of a combination.
func combination(o lab.Options) string {
	return strings.Join([]string{o.IPFamily, o.ProxyMode, o.FlannelBackend}, "-")
}

func matrix(dirs *lab.Dirs) *cobra.Command {
	c := choices{lab.IPFamilies(), lab.ProxyModes(), lab.FlannelBackends()}
	cmd := &cobra.Command{
		Use:   "matrix",
		Short: "Start, check and stop a cluster for every combination of options; status 1 if one fails",
		Long: `Starts, checks and stops a cluster for every combination of the options, one after the other.
Each has a state directory of its own, beside the lab's, which is removed unless the combination fails.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			opts := c.all()
			for _, o := range opts {
				if err := o.Validate(); err != nil {
					return err
				}
			}
			// Build first, so that the first combination's time does not include it.
			if err := lab.Build(cmd.Context(), *dirs, progress.New(cmd.ErrOrStderr())); err != nil {
				return err
			}
			var results []result
			for _, o := range opts {
				cmd.PrintErrf("\n== %s\n", combination(o))
				r := try(cmd.Context(), *dirs, o, cmd.ErrOrStderr())
				if r.err != nil {
					cmd.PrintErrf("FAILED: %v\n", r.err)
				}
				if results = append(results, r); cmd.Context().Err() != nil {
					break
				}
			}
			return summarize(cmd.OutOrStdout(), results)
		},
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&c.families, "ip-family", c.families, "IP families to combine")
	flags.StringSliceVar(&c.proxyModes, "proxy-mode", c.proxyModes, "kube-proxy modes to combine")
	flags.StringSliceVar(&c.backends, "flannel-backend", c.backends, "Flannel backends to combine")
	return cmd
}

// result is the result of one combination.
type result struct {
	opts lab.Options
	// start is how long the start took. total also includes the check and the stop.
	start, total time.Duration
	err          error
}

// try starts, checks and stops a cluster.
func try(ctx context.Context, dirs lab.Dirs, o lab.Options, out io.Writer) (r result) {
	dirs.State += "-" + combination(o)
	r.opts = o
	p, begin := progress.New(out), time.Now()
	defer func() { r.total = time.Since(begin) }()
	c, err := lab.Up(ctx, dirs, o, p)
	r.start = time.Since(begin)
	if err != nil {
		r.err = fmt.Errorf("the cluster did not start: %w", err)
		return r
	}
	r.err = check.Run(ctx, c, p)
	// Stop what was started, even after an interrupt.
	if err := lab.Down(context.WithoutCancel(ctx), dirs, p); err != nil {
		r.err = errors.Join(r.err, fmt.Errorf("stop the cluster: %w", err))
	}
	if r.err == nil {
		r.err = os.RemoveAll(dirs.State)
	}
	return r
}

// summarize writes one line for each combination. It returns an error if one of them failed.
func summarize(out io.Writer, results []result) error {
	failed := 0
	_, _ = fmt.Fprintf(out, "\n%-8s %-10s %-8s %8s %8s\n", "family", "kube-proxy", "flannel", "start", "total")
	for _, r := range results {
		outcome := "ok"
		if r.err != nil {
			failed++
			outcome, _, _ = strings.Cut("FAILED: "+r.err.Error(), "\n")
		}
		_, _ = fmt.Fprintf(out, "%-8s %-10s %-8s %6.1f s %6.1f s  %s\n",
			r.opts.IPFamily, r.opts.ProxyMode, r.opts.FlannelBackend, r.start.Seconds(), r.total.Seconds(), outcome)
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d combinations failed", failed, len(results))
	}
	return nil
}
