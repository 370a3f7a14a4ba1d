package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/netpol-agent/netpol-agent/internal/conntrack"
	"github.com/netpol-agent/netpol-agent/internal/render/backend"
	"github.com/netpol-agent/netpol-agent/internal/sync/report"
)

func newCleanup() *cobra.Command {
	var dryRun, force bool
	var socket string
	cmd := &cobra.Command{
		Use:   "cleanup",
		Short: "Remove the agent's rules from this node, and nothing else",
		Long: `cleanup removes what the agent keeps in this network namespace, whichever backend wrote it: its nftables
tables, and its chains in the filter tables of both variants of iptables with its ipsets. From then on no policy is
enforced here: every pod of the node is open. What others have is not touched. A second call finds nothing to do.

Where there is no iptables or ipset program, only the nftables tables are looked for. Chains and sets of the iptables
backend need CAP_NET_RAW beside CAP_NET_ADMIN to be removed.

While an agent runs here it would write its rules again, so cleanup then refuses, unless it is forced.`,
		Example: `  # what would be removed
  netpol-agent cleanup --dry-run

  # after the agent's DaemonSet is gone
  netpol-agent cleanup`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runCleanup(cmd, dryRun, force, socket) },
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only tell what would be removed")
	cmd.Flags().BoolVar(&force, "force", false, "remove the rules although an agent runs here")
	socketFlag(cmd, &socket)
	return cmd
}

func runCleanup(cmd *cobra.Command, dryRun, force bool, socket string) error {
	if !dryRun && !force && agentRuns(cmd.Context(), socket) {
		return errors.New("an agent runs in this network namespace and would write its rules again: end it first, or use --force")
	}
	gone, err := backend.Cleanup(dryRun, conntrack.HoldTable)
	done := "removed"
	if dryRun {
		done = "would remove"
	}
	for _, what := range gone {
		fmt.Fprintf(cmd.OutOrStdout(), "%s %s\n", done, what)
	}
	if len(gone) == 0 && err == nil {
		fmt.Fprintln(cmd.OutOrStdout(), "nothing to remove: there are no rules of the agent in this network namespace")
	}
	return err
}

// agentRuns says whether an agent answers at the socket.
func agentRuns(ctx context.Context, socket string) bool {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_, err := report.FetchStatus(ctx, socket)
	return err == nil
}

func socketFlag(cmd *cobra.Command, socket *string) {
	cmd.Flags().StringVar(socket, "status-socket", report.DefaultStatusSocket,
		"unix socket at which the agent tells its status; a leading @ makes it an abstract one")
}
