package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/kubernetes"

	"github.com/netpol-agent/netpol-agent/internal/uninstall"
)

// uninstallFlags are the flags of uninstall.
type uninstallFlags struct {
	kubeconfig, context  string
	namespace, daemonSet string
	timeout              time.Duration
}

func newUninstall() *cobra.Command {
	var f uninstallFlags
	cmd := &cobra.Command{
		Use:   "uninstall",
		Short: "Stop the agents of a cluster and remove their rules from every node",
		Long: `uninstall stops the agents of a cluster and removes their rules. From then on no policy is enforced, and every pod is
open. "helm uninstall" does this by itself. After "kubectl apply", run uninstall and then delete what was applied: the
DaemonSet and everything that was installed with it.

uninstall gives the DaemonSet a node selector that no node matches, waits on each node until the agent has stopped, and
runs "netpol-agent cleanup" there in a pod. It names the nodes that do not answer within the timeout, and exits with
status 1. Then run it again when the nodes are back, or delete them first. To have the agents back instead, remove the
node selector ` + uninstall.Selector + ` from the DaemonSet.

The cluster is the one that --kubeconfig, $KUBECONFIG or ~/.kube/config names, or else the one in which uninstall runs
as a pod.`,
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
	flags.DurationVar(&f.timeout, "timeout", 3*time.Minute, "time limit for all nodes together")
	complete(cmd, "daemonset")
	return cmd
}

func (f *uninstallFlags) run(cmd *cobra.Command) error {
	if f.timeout <= 0 {
		return usagef("--timeout must be greater than 0, not %s", f.timeout)
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
