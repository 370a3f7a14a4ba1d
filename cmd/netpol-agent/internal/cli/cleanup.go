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
		Long: `cleanup removes everything that the agent keeps in this network namespace, whichever backend wrote it: its nftables
tables, its chains in the filter tables of both iptables variants, and its ipsets. From then on no policy is enforced
here, and every pod of the node is open. Nothing else is touched. It is safe to run cleanup again.

A running agent would write its rules again, so cleanup refuses while one runs here; --force overrides that.

cleanup needs CAP_NET_ADMIN and, for chains and sets of the iptables backend, CAP_NET_RAW. Without the programs
iptables and ipset it removes the nftables tables only.`,
		Example: `  # show what would be removed
  netpol-agent cleanup --dry-run

  # after the agent's DaemonSet is gone
  netpol-agent cleanup`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runCleanup(cmd, dryRun, force, socket) },
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "show what would be removed, and remove nothing")
	cmd.Flags().BoolVar(&force, "force", false, "remove the rules even if an agent runs here")
	socketFlag(cmd, &socket)
	return cmd
}

func runCleanup(cmd *cobra.Command, dryRun, force bool, socket string) error {
	if !dryRun && !force && agentRuns(cmd.Context(), socket) {
		return errors.New("an agent runs in this network namespace and would write its rules again: stop it first, or use --force")
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
		fmt.Fprintln(cmd.OutOrStdout(), "nothing to remove: the agent has no rules in this network namespace")
	}
	return err
}

// agentRuns reports whether an agent answers at the socket.
func agentRuns(ctx context.Context, socket string) bool {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_, err := report.FetchStatus(ctx, socket)
	return err == nil
}

func socketFlag(cmd *cobra.Command, socket *string) {
	cmd.Flags().StringVar(socket, "status-socket", report.DefaultStatusSocket,
		"Unix socket on which the agent serves its status; a leading @ makes it abstract")
}
