package cli

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/netpol-agent/netpol-agent/internal/render"
	"github.com/netpol-agent/netpol-agent/internal/render/backend"
	"github.com/netpol-agent/netpol-agent/internal/sync"
)

// nodeNameEnv is the environment variable that the DaemonSet fills with spec.nodeName.
const nodeNameEnv = "NODE_NAME"

// runFlags are the flags of run.
type runFlags struct {
	config              sync.Config
	kubeconfig          string
	backend, variant    *choice
	logLevel, logFormat *choice
}

func newRun() *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run --node-name NAME",
		Short: "Enforce the cluster's policies on this node until SIGTERM",
		Long: `run watches Pods, Namespaces and NetworkPolicies and keeps netfilter rules for the pods of this node. It writes nothing
until it has read all objects once. It needs CAP_NET_ADMIN in the node's network namespace.

SIGTERM stops the agent and leaves the rules in force, so a restart opens nothing; "netpol-agent cleanup" removes
them. While the API server cannot be reached, the last rules stay in force and the agent is not ready.

The cluster is the one that --kubeconfig names, or else the one in which the agent runs as a pod.

Two backends can write the rules, nftables and iptables with ipset. Both enforce the same. --backend=auto uses nftables
if the kernel has it. The iptables backend also needs CAP_NET_RAW, the programs iptables and ipset and, in a container,
the node's /run/xtables.lock. --iptables-variant=auto uses the variant, legacy or nft, in which the node's other
components have their rules. When the backend changes, the new one enforces before the old one's rules are removed.
"netpol-agent status" shows which backend was chosen, and why.`,
		Example: `  # in a DaemonSet: NODE_NAME comes from the downward API, the cluster from the service account
  netpol-agent run

  # by hand
  netpol-agent run --node-name worker-1 --kubeconfig /etc/kubernetes/kubelet.conf --log-format text`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.config.Node, "node-name", "", "name of this node's Node object (default $"+nodeNameEnv+")")
	flags.StringVar(&f.kubeconfig, "kubeconfig", "", "kubeconfig file (default $KUBECONFIG, or the pod's service account)")
	flags.StringVar(&f.config.MetricsAddr, "metrics-bind-address", ":9475", "address that serves /metrics; 0 for none")
	flags.StringVar(&f.config.HealthAddr, "health-bind-address", ":9476", "address that serves /healthz and /readyz; 0 for none")
	flags.DurationVar(&f.config.Resync, "resync-period", time.Minute, "time between two full comparisons of the kernel's rules with what they should be")
	socketFlag(cmd, &f.config.StatusSocket)
	f.backend = choiceFlag(cmd, "backend", "", "what writes the rules", backend.Auto, backend.NFTables, backend.IPTables)
	f.variant = choiceFlag(cmd, "iptables-variant", "", "variant of the iptables programs, for the iptables backend", backend.Auto, backend.Legacy, backend.NFT)
	f.logLevel = choiceFlag(cmd, "log-level", "", "lowest level to log", "info", "debug", "warn", "error")
	f.logFormat = choiceFlag(cmd, "log-format", "", "format of the log, on standard error", "json", outputText)
	complete(cmd, "node-name")
	return cmd
}

func (f *runFlags) run(cmd *cobra.Command) error {
	if f.config.Resync <= 0 {
		return usagef("--resync-period must be greater than 0, not %s", f.config.Resync)
	}
	if f.config.Node == "" {
		f.config.Node = os.Getenv(nodeNameEnv)
	}
	config, err := agentConfig(f.kubeconfig)
	if err != nil {
		return err
	}
	f.config.REST = config
	f.config.Version = version().Version
	f.config.Log = newLogger(cmd.ErrOrStderr(), f.logLevel.value, f.logFormat.value)
	sync.LogClients(f.config.Log)
	f.config.OpenBackend = func(o render.Observer) (*render.Opened, error) {
		return backend.Open(backend.Config{Backend: f.backend.value, Variant: f.variant.value, Observer: o})
	}
	return sync.Run(cmd.Context(), f.config)
}

// agentConfig finds the agent's cluster: by a kubeconfig file, or else by the pod's service account. It ignores the
// kubeconfig in the home directory, which is a person's and not an agent's.
func agentConfig(kubeconfig string) (*rest.Config, error) {
	if kubeconfig == "" {
		kubeconfig = os.Getenv(clientcmd.RecommendedConfigPathEnvVar)
	}
	if kubeconfig != "" {
		config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
		if err != nil {
			return nil, fmt.Errorf("kubeconfig %s: %w", kubeconfig, err)
		}
		return config, nil
	}
	config, err := rest.InClusterConfig()
	if errors.Is(err, rest.ErrNotInCluster) {
		return nil, errors.New("no way to reach the API server: pass --kubeconfig, or run in a pod with a service account")
	}
	return config, err
}

// newLogger returns a logger of structured records.
func newLogger(w io.Writer, level, format string) *slog.Logger {
	opts := &slog.HandlerOptions{Level: map[string]slog.Level{
		"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
	}[level]}
	if format == outputText {
		return slog.New(slog.NewTextHandler(w, opts))
	}
	return slog.New(slog.NewJSONHandler(w, opts))
}
