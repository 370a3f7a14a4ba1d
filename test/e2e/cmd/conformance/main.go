// Command conformance runs a suite of tests that others wrote against the agent on a real cluster, which it starts
// and ends, and keeps a report. Its exit status is 0 only if every case passed.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/netpol-agent/netpol-agent/test/e2e/conformance"
	"github.com/netpol-agent/netpol-agent/test/e2e/lab"
	"github.com/netpol-agent/netpol-agent/test/e2e/lab/progress"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := command().ExecuteContext(ctx)
	stop()
	if errors.Is(err, context.Canceled) {
		err = errors.New("interrupted")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	o := conformance.DefaultOptions()
	choices := conformance.Choices{
		IPFamilies: []string{o.Lab.IPFamily}, ProxyModes: []string{o.Lab.ProxyMode}, FlannelBackends: []string{o.Lab.FlannelBackend},
	}
	var state string
	cmd := &cobra.Command{
		Use:   "conformance",
		Short: "Run a suite of others against the agent on a real cluster and keep a report",
		Long: `Runs a suite of others against the agent on a real cluster, which it starts and ends, and keeps a report. With more
than one IP family, mode of kube-proxy or back end of Flannel, it does so for every combination, one after the other, and
writes a table.`,
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dirs, err := folders(state)
			if err != nil {
				return err
			}
			if o.Results == "" {
				o.Results = filepath.Join(dirs.Repo, "results", "conformance")
			}
			if o.Results, err = filepath.Abs(o.Results); err != nil {
				return err
			}
			if err := os.MkdirAll(o.Results, 0o755); err != nil {
				return err
			}
			return conformance.ExecuteAll(cmd.Context(), dirs, choices.Combine(o), progress.New(cmd.ErrOrStderr()))
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.Suite, "suite", o.Suite, "what to run: "+strings.Join(conformance.Suites(), ", "))
	flags.StringSliceVar(&o.Include, "include", nil, "run only the cases of cyclonus that have one of these tags")
	flags.StringVar(&o.Backend, "backend", o.Backend, "what the agent renders to: "+strings.Join(conformance.Backends(), ", "))
	flags.StringSliceVar(&choices.IPFamilies, "ip-family", choices.IPFamilies, "the clusters': "+strings.Join(lab.IPFamilies(), ", "))
	flags.StringSliceVar(&choices.ProxyModes, "proxy-mode", choices.ProxyModes, "kube-proxy's modes: "+strings.Join(lab.ProxyModes(), ", "))
	flags.StringSliceVar(&choices.FlannelBackends, "flannel-backend", choices.FlannelBackends, "Flannel's back ends: "+strings.Join(lab.FlannelBackends(), ", "))
	flags.IntVar(&o.Procs, "procs", o.Procs, "how many specs of the upstream suite to run at a time")
	flags.IntVar(&o.Clusters, "clusters", o.Clusters, "how many clusters share the cases of cyclonus")
	flags.IntVar(&o.Runs, "runs", o.Runs, "how often to run the suite, one after the other on one cluster")
	flags.BoolVar(&o.Keep, "keep", false, "leave the cluster up; the next call uses it again")
	flags.StringVar(&o.Results, "results", "", "folder of the reports (default results/conformance in the checkout)")
	flags.StringVar(&state, "state", conformance.DefaultStateDir, "folder of the running cluster")
	return cmd
}

// folders are the lab's, with a state of their own so that the cluster of the demo is left alone.
func folders(state string) (lab.Dirs, error) {
	dirs, err := lab.DefaultDirs()
	if err != nil {
		return dirs, err
	}
	if dirs.Repo == "" {
		return dirs, errors.New("no checkout of the repository here: change into it")
	}
	dirs.State, err = filepath.Abs(state)
	return dirs, err
}
