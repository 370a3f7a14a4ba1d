// Package cli is the command line: it turns flags into calls and results into text, one file per command.
//
// It decides how questions are asked, how answers are shown, and the exit status. It decides nothing about
// policies, rules or the agent's life; the packages that it wires together do.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit statuses.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
	exitDenied  = 3
)

// usageError is the error for a wrong command line.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// statusError ends the program with an exit status and prints nothing: the command has printed everything.
type statusError int

func (e statusError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// Main runs the command line and returns the exit status: 0 for success, 1 for a failure, 2 for a wrong command
// line, or another status that the command documents.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	var status statusError
	var usage usageError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &status):
		return int(status)
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "%s: %s (see %q)\n", cmd.CommandPath(), oneLine(err), cmd.CommandPath()+" --help")
		return exitUsage
	default:
		fmt.Fprintf(stderr, "%s: %s\n", cmd.CommandPath(), oneLine(err))
		return exitFailure
	}
}

// oneLine returns the error on one line, even if it joins several errors.
func oneLine(err error) string {
	return strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; ")
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "netpol-agent",
		Short: "Enforce Kubernetes NetworkPolicy on this node with nftables or iptables",
		Long: `netpol-agent enforces Kubernetes NetworkPolicy on one node, beside a network plugin that enforces none. The same
program shows what it would do: "render" and "explain" need neither root nor a cluster.

Exit status: 0 for success, 1 if something failed, 2 for a wrong command line.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          noSuchCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SuggestionsMinimumDistance = 2
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(newRun(), newRender(), newExplain(), newStatus(), newCleanup(), newUninstall(), newVersion())
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		if cmd.Name() == "completion" {
			cmd.Args, cmd.RunE = noSuchShell, func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
			cmd.Example = `  # enable completion in this shell, and in every new one
  source <(netpol-agent completion bash)
  netpol-agent completion bash >/etc/bash_completion.d/netpol-agent`
		}
	}
	return root
}

// noSuchShell refuses arguments of "completion": a shell would take help on standard output with status 0 for a script.
func noSuchShell(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("no completion for shell %q: use bash, fish, powershell or zsh", args[0])
	}
	return nil
}

// noSuchCommand refuses arguments of the root command: they are misspelt commands.
func noSuchCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := ""
	if s := cmd.SuggestionsFor(args[0]); len(s) > 0 {
		hint = fmt.Sprintf(", did you mean %q?", s[0])
	}
	return usagef("there is no command %q%s", args[0], hint)
}

// noArgs refuses the arguments of a command that takes only flags.
func noArgs(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("unexpected argument %q", args[0])
	}
	return nil
}
