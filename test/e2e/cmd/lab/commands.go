package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/netpol-agent/netpol-agent/test/e2e/lab"
	"github.com/netpol-agent/netpol-agent/test/e2e/lab/check"
	"github.com/netpol-agent/netpol-agent/test/e2e/lab/progress"
)

// goRun is how the commands are called from a checkout.
const goRun = "go run ./test/e2e/cmd/lab"

// root returns the command with all of its subcommands.
func root() *cobra.Command {
	var dirs lab.Dirs
	cmd := &cobra.Command{
		Use:           "lab",
		Short:         "A real Kubernetes cluster with Flannel on one Linux machine",
		SilenceUsage:  true,
		SilenceErrors: true,
		// The lab's flags come before the word kubectl. Everything after it belongs to kubectl.
		TraverseChildren: true,
	}
	flags := cmd.PersistentFlags()
	flags.StringVar(&dirs.State, "state", "", "folder of the running cluster (default $"+lab.EnvStateDir+" or "+lab.DefaultStateDir+")")
	flags.StringVar(&dirs.Cache, "cache", "", "folder for what is built (default $"+lab.EnvCacheDir+", or netpol-agent-lab in the user's cache)")
	flags.StringVar(&dirs.Repo, "repo", "", "checkout of the repository (default: the one that holds the working directory)")
	cmd.PersistentPreRunE = func(*cobra.Command, []string) error { return fill(&dirs) }
	cmd.AddCommand(up(&dirs), down(&dirs), build(&dirs), status(&dirs), kubectl(&dirs), execute(&dirs), shell(&dirs), smoke(&dirs), matrix(&dirs))
	return cmd
}

// fill sets the folders that were not named to their defaults.
func fill(dirs *lab.Dirs) error {
	def, err := lab.DefaultDirs()
	if err != nil {
		return err
	}
	for _, p := range []struct {
		value *string
		def   string
	}{{&dirs.State, def.State}, {&dirs.Cache, def.Cache}, {&dirs.Repo, def.Repo}} {
		if *p.value == "" {
			*p.value = p.def
		}
	}
	// The processes of a machine are later found by this path, so it must always be spelled the same.
	dirs.State, err = filepath.Abs(dirs.State)
	return err
}

func up(dirs *lab.Dirs) *cobra.Command {
	opts := lab.DefaultOptions()
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Build what is missing and start the cluster",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := lab.Up(cmd.Context(), *dirs, opts, progress.New(cmd.ErrOrStderr()))
			if err != nil {
				return fmt.Errorf("the cluster did not start: %w", err)
			}
			cmd.Print(usage(c))
			return nil
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&opts.Nodes, "nodes", opts.Nodes, "number of nodes, 1 to 9")
	flags.StringVar(&opts.IPFamily, "ip-family", opts.IPFamily, "IP family: "+strings.Join(lab.IPFamilies(), ", "))
	flags.TextVar(&opts.PodCIDR, "pod-cidr", opts.PodCIDR, "IPv4 range of the pods")
	flags.TextVar(&opts.ServiceCIDR, "service-cidr", opts.ServiceCIDR, "IPv4 range of the services")
	flags.TextVar(&opts.PodCIDR6, "pod-cidr6", opts.PodCIDR6, "IPv6 range of the pods")
	flags.TextVar(&opts.ServiceCIDR6, "service-cidr6", opts.ServiceCIDR6, "IPv6 range of the services")
	flags.StringVar(&opts.ProxyMode, "proxy-mode", opts.ProxyMode, "kube-proxy mode: "+strings.Join(lab.ProxyModes(), " or "))
	flags.StringVar(&opts.FlannelBackend, "flannel-backend", opts.FlannelBackend, "Flannel backend: "+strings.Join(lab.FlannelBackends(), " or "))
	return cmd
}

// usage lists commands to continue with by hand.
func usage(c *lab.Cluster) string {
	var text strings.Builder
	text.WriteString("\nThe cluster is up. To use it:\n")
	for _, line := range [][2]string{
		{"kubectl get pods -A", "one kubectl command"},
		{"shell", "a shell in which kubectl works (KUBECONFIG and PATH are set)"},
		{"exec node1 -- nft list ruleset", "a command on a node"},
		{"status", "what runs, and where its logs are"},
		{"down", "end the cluster"},
	} {
		fmt.Fprintf(&text, "  %s %-32s %s\n", goRun, line[0], line[1])
	}
	fmt.Fprintf(&text, "Kubeconfig, for processes on the nodes: %s\n", c.Kubeconfig)
	return text.String()
}

func down(dirs *lab.Dirs) *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "Stop the cluster and check that nothing is left of it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return lab.Down(cmd.Context(), *dirs, progress.New(cmd.ErrOrStderr()))
		},
	}
}

func build(dirs *lab.Dirs) *cobra.Command {
	return &cobra.Command{
		Use:   "build",
		Short: "Build what is missing and start nothing",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p := progress.New(cmd.ErrOrStderr())
			if err := lab.Build(cmd.Context(), *dirs, p); err != nil {
				return err
			}
			p.Step("everything is built, in %s", dirs.Cache)
			return nil
		},
	}
}

func status(dirs *lab.Dirs) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show what runs on each machine, and where its logs are; status 1 if the cluster is not up",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := lab.Load(dirs.State)
			if err != nil {
				return err
			}
			for _, m := range c.Status(cmd.Context()) {
				cmd.Printf("%s (logs in %s)\n", m.Name, c.LogDir(m.Name))
				for _, p := range m.Processes {
					what := "running"
					if !p.Running {
						what = fmt.Sprintf("ended with status %d", p.ExitCode)
					}
					cmd.Printf("  %-24s %s\n", p.Spec.Name, what)
				}
			}
			return c.Healthy(cmd.Context())
		},
	}
}

func kubectl(dirs *lab.Dirs) *cobra.Command {
	return &cobra.Command{
		Use:   "kubectl [arguments]",
		Short: "Run kubectl with the administrator's rights",
		// The arguments are kubectl's; the lab's own flags come before the word kubectl.
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := lab.Load(dirs.State)
			if err != nil {
				return err
			}
			k, err := c.KubectlCommand(cmd.Context(), args...)
			if err != nil {
				return err
			}
			return attached(k)
		},
	}
}

func execute(dirs *lab.Dirs) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "exec MACHINE -- COMMAND [arguments]",
		Short: "Run a command on a node, or on the control plane (cp), in all of its namespaces",
		Args:  cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := lab.Load(dirs.State)
			if err != nil {
				return err
			}
			argv := args[1:]
			if argv[0] == "--" {
				argv = argv[1:]
			}
			k, err := c.Command(cmd.Context(), args[0], argv...)
			if err != nil {
				return err
			}
			return attached(k)
		},
	}
	// Flags after the machine's name belong to the command.
	cmd.Flags().SetInterspersed(false)
	return cmd
}

func shell(dirs *lab.Dirs) *cobra.Command {
	return &cobra.Command{
		Use:   "shell",
		Short: "Start a shell in which kubectl works",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := lab.Load(dirs.State)
			if err != nil {
				return err
			}
			sh := os.Getenv("SHELL")
			if sh == "" {
				sh = "/bin/sh"
			}
			k, err := c.ShellCommand(cmd.Context(), sh)
			if err != nil {
				return err
			}
			return attached(k)
		},
	}
}

func smoke(dirs *lab.Dirs) *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Have pods on all nodes talk to each other, with every IP family, directly and through Services",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := lab.Load(dirs.State)
			if err != nil {
				return err
			}
			return check.Run(cmd.Context(), c, progress.New(cmd.ErrOrStderr()))
		},
	}
}

// attached runs a command with this process's own streams. Signals from the terminal reach the command directly,
// and it decides what they mean.
func attached(k *lab.Command) error {
	k.Stdin, k.Stdout, k.Stderr = os.Stdin, os.Stdout, os.Stderr
	k.Cancel = func() error { return nil }
	if err := k.Run(); err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) && exit.ExitCode() > 0 {
			return exitError(exit.ExitCode())
		}
		return fmt.Errorf("%s: %w", filepath.Base(k.Path), err)
	}
	return nil
}
