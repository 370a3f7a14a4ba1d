package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/kubernetes"

	"github.com/netpol-agent/netpol-agent/internal/uninstall"
)

// uninstallFlags are what uninstall is told.
type uninstallFlags struct {
	kubeconfig, context  string
	namespace, daemonSet string
	timeout              time.Duration
}

func newUninstall() *cobra.Command {
	var f uninstallFlags
	cmd := &cobra.Command{
		Use:   "uninstall",
		Short: "End the agents of a cluster and remove their rules from every node",
		Long: `uninstall leaves the agents' DaemonSet without nodes, waits on each node until its agent has ended, and runs
"netpol-agent cleanup" there in a pod. From then on no policy is enforced in the cluster: every pod is open. The
DaemonSet itself and all that was installed with it remain to be deleted; "helm uninstall" does both.

A node that does not answer within the timeout is named, and the status is then 1. Run it again when the node is back,
or delete the node. To have agents again instead, remove the node selector ` + uninstall.Selector + ` from the DaemonSet.

The cluster is the one that --kubeconfig or the environment names, or the one whose pod this is.`,
		Example: `  # before "kubectl delete -f netpol-agent.yaml"
  netpol-agent uninstall`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.kubeconfig, "kubeconfig", "", "kubeconfig file of the cluster")
	flags.StringVar(&f.context, "context", "", "context of the kubeconfig")
	flags.StringVarP(&f.namespace, "namespace", "n", "kube-system", "namespace of the DaemonSet")
	flags.StringVar(&f.daemonSet, "daemonset", "netpol-agent", "name of the DaemonSet")
	flags.DurationVar(&f.timeout, "timeout", 3*time.Minute, "longest time for all nodes together")
	complete(cmd, "daemonset")
	return cmd
}

func (f *uninstallFlags) run(cmd *cobra.Command) error {
	if f.timeout <= 0 {
		return usagef("--timeout: %s is not longer than nothing", f.timeout)
	}
	config, err := clusterConfig(f.kubeconfig, f.context)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("cluster %s: %w", config.Host, err)
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), f.timeout)
	defer cancel()
	return uninstall.Run(ctx, uninstall.Config{
		Client: client, Namespace: f.namespace, DaemonSet: f.daemonSet,
		Log: newLogger(cmd.ErrOrStderr(), "info", outputText),
	})
}
