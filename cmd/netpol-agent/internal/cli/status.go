package cli

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/netpol-agent/netpol-agent/internal/sync/report"
)

func newStatus() *cobra.Command {
	var socket string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what the agent on this node enforces",
		Long: `status asks the agent in this network namespace whether it is ready and up to date, what it has written to the kernel,
which policies it knows, and how each pod of the node is isolated. It needs root.

Exit status: 0 if an agent answered, ready or not.`,
		Example: `  # on the node
  netpol-agent status

  # the pods of the node that no policy isolates
  netpol-agent status -o json | jq -r '.pods[] | select(.isolation == "none").name'

  # from elsewhere, in a pod of the DaemonSet
  kubectl -n kube-system exec ds/netpol-agent -- netpol-agent status`,
		Args: noArgs,
	}
	socketFlag(cmd, &socket)
	output := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx, cancel := context.WithTimeout(cmd.Context(), 15*time.Second)
		defer cancel()
		s, err := report.FetchStatus(ctx, socket)
		if err != nil {
			return err
		}
		if output.value == outputJSON {
			return printJSON(cmd.OutOrStdout(), s)
		}
		return writeStatus(cmd.OutOrStdout(), s, time.Now())
	}
	return cmd
}

// writeStatus prints the status as text. Times are relative to now.
func writeStatus(out io.Writer, s *report.Status, now time.Time) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(cells ...any) { fmt.Fprintln(w, strings.TrimRight(join(cells), "\t ")) }
	row("Node", s.Node)
	row("Version", s.Version)
	row("State", s)
	row("Running", "since "+moment(s.Started, now))
	row("In sync", moment(s.LastSync, now))
	row("Pending", fmt.Sprintf("%d changes", s.Pending))
	row("Rules in", s.Table)
	row("Backend", strings.TrimSpace(s.Backend+" "+inBrackets(s.BackendReason)))
	for _, left := range s.Leftovers {
		row("Left over", left)
	}
	row("Objects", counts(s.Objects))

	row()
	row("FAMILY", "RULES", "CHAINS", "SETS", "ELEMENTS")
	for _, family := range slices.Sorted(maps.Keys(s.Installed)) {
		c := s.Installed[family]
		row(family, c.Rules, c.Chains, c.Sets, c.Elements)
	}
	if len(s.Policies) > 0 {
		row()
		row("POLICY", "STATE")
	}
	for _, p := range s.Policies {
		row(p.Name, strings.ReplaceAll(p.State, "_", " "))
		for _, d := range p.Diagnostics {
			row("  " + d)
		}
	}
	if len(s.Pods) > 0 {
		row()
		row("POD", "ADDRESSES", "ISOLATED", "BY, INGRESS", "BY, EGRESS")
	}
	for _, p := range s.Pods {
		row(p.Name, addresses(p.Addresses), p.Isolation, orDash(p.Ingress), orDash(p.Egress))
	}
	return w.Flush()
}

func join(cells []any) string {
	texts := make([]string, len(cells))
	for i, c := range cells {
		texts[i] = fmt.Sprint(c)
	}
	return strings.Join(texts, "\t")
}

func inBrackets(s string) string {
	if s == "" {
		return ""
	}
	return "(" + s + ")"
}

// moment returns a time and how long ago it was.
func moment(t, now time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return fmt.Sprintf("%s (%s ago)", t.UTC().Format(time.RFC3339), now.Sub(t).Truncate(time.Second))
}

func counts(m map[string]int) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, fmt.Sprintf("%d %s", m[k], k))
	}
	return strings.Join(out, ", ")
}

func addresses(addrs []netip.Addr) string {
	out := make([]string, len(addrs))
	for i, a := range addrs {
		out[i] = a.String()
	}
	return strings.Join(out, ",")
}

func orDash(names []string) string {
	if len(names) == 0 {
		return "-"
	}
	return strings.Join(names, ",")
}
