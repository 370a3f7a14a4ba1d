// Command conformance runs a third-party test suite against the agent on a real cluster, which it starts and stops,
// and writes a report. Its exit status is 0 only if every case passed.
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
		Short: "Run a third-party test suite against the agent on a real cluster and write a report",
		Long: `Runs a third-party test suite against the agent on a real cluster, which it starts and stops, and writes a report. With
more than one IP family, kube-proxy mode or Flannel backend, it does so for every combination, one after the other, and
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
	flags.StringVar(&o.Suite, "suite", o.Suite, "suite to run: "+strings.Join(conformance.Suites(), ", "))
	flags.StringSliceVar(&o.Include, "include", nil, "run only the Cyclonus cases that have one of these tags")
	flags.StringVar(&o.Backend, "backend", o.Backend, "backend of the agent: "+strings.Join(conformance.Backends(), ", "))
	flags.StringSliceVar(&choices.IPFamilies, "ip-family", choices.IPFamilies, "IP families of the clusters: "+strings.Join(lab.IPFamilies(), ", "))
	flags.StringSliceVar(&choices.ProxyModes, "proxy-mode", choices.ProxyModes, "kube-proxy modes: "+strings.Join(lab.ProxyModes(), ", "))
	flags.StringSliceVar(&choices.FlannelBackends, "flannel-backend", choices.FlannelBackends, "Flannel backends: "+strings.Join(lab.FlannelBackends(), ", "))
	flags.IntVar(&o.Procs, "procs", o.Procs, "number of upstream specs to run at a time")
	flags.IntVar(&o.Clusters, "clusters", o.Clusters, "number of clusters that share the Cyclonus cases")
	flags.IntVar(&o.Runs, "runs", o.Runs, "number of times to run the suite, one after the other, on one cluster")
	flags.BoolVar(&o.Keep, "keep", false, "leave the cluster up for the next call")
	flags.StringVar(&o.Results, "results", "", "folder of the reports (default results/conformance in the checkout)")
	flags.StringVar(&state, "state", conformance.DefaultStateDir, "folder of the running cluster")
	return cmd
}

// folders returns the lab's folders with another state directory, so that the demo's cluster is left alone.
func folders(state string) (lab.Dirs, error) {
	dirs, err := lab.DefaultDirs()
	if err != nil {
		return dirs, err
	}
	if dirs.Repo == "" {
		return dirs, errors.New("this is not a checkout of the repository: change into one")
	}
	dirs.State, err = filepath.Abs(state)
	return dirs, err
}
