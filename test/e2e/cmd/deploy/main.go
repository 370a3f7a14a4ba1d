// Command deploy installs or upgrades the agent in the lab's cluster with its image and chart. It starts the
// cluster if there is none.
//
//	deploy [--backend nftables|iptables|auto] [arguments of helm]
//	deploy --uninstall [arguments of helm]
//
// A backend other than nftables gets the image that has the programs it needs.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/netpol-agent/netpol-agent/test/e2e/deploy"
	"github.com/netpol-agent/netpol-agent/test/e2e/lab"
	"github.com/netpol-agent/netpol-agent/test/e2e/lab/progress"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "deploy:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	dirs, err := lab.DefaultDirs()
	if err != nil {
		return err
	}
	p := progress.New(os.Stderr)
	if len(args) > 0 && args[0] == "--uninstall" {
		return uninstall(ctx, dirs, p, args[1:])
	}
	flavour := deploy.Plain
	if len(args) > 1 && args[0] == "--backend" {
		flavour = deploy.FlavourFor(args[1])
		args = append([]string{"--set-string", "backend=" + args[1]}, args[2:]...)
	}
	return install(ctx, dirs, p, flavour, args)
}

func install(ctx context.Context, dirs lab.Dirs, p *progress.Printer, flavour deploy.Flavour, args []string) error {
	opts := lab.DefaultOptions()
	if c, err := lab.Load(dirs.State); err == nil {
		// Use the cluster that is up, whatever its options.
		opts = c.Options
	}
	_, r, err := deploy.UpWith(ctx, dirs, opts, flavour, p)
	if err != nil {
		return err
	}
	p.Step("helm upgrade --install: %s", r.Image().Name())
	if err := r.Install(ctx, args...); err != nil {
		return err
	}
	p.Step("the agents on all nodes enforce")
	fmt.Print(usage)
	return nil
}

func uninstall(ctx context.Context, dirs lab.Dirs, p *progress.Printer, args []string) error {
	c, err := lab.Load(dirs.State)
	if err != nil {
		return err
	}
	// Uninstalling does not depend on which image is installed.
	r, err := deploy.New(c, dirs.Repo, deploy.Plain)
	if errors.Is(err, os.ErrNotExist) {
		r, err = deploy.New(c, dirs.Repo, deploy.IPTables)
	}
	if err != nil {
		return err
	}
	if err := r.Uninstall(ctx, args...); err != nil {
		return err
	}
	p.Step("the agents and their rules are gone")
	return nil
}

// usage lists commands to continue with by hand.
const usage = `
The cluster is up, with the agent on every node. To use it:
  go run ./test/e2e/cmd/lab kubectl get pods -A -o wide          one kubectl command
  go run ./test/e2e/cmd/lab shell                                a shell in which kubectl works
  go run ./test/e2e/cmd/lab kubectl apply -f examples/policies/04-allow-myapp-ingress.yaml
  go run ./test/e2e/cmd/lab kubectl -n kube-system exec daemonset/netpol-agent -- netpol-agent status
  go run ./test/e2e/cmd/lab exec node1 -- nft list table inet netpol-agent
  go run ./test/e2e/cmd/deploy --set log.level=debug             upgrade the agent, with values of the chart
  go run ./test/e2e/cmd/deploy --backend iptables                the other backend, with the image that it needs
  go run ./test/e2e/cmd/deploy --uninstall                       helm uninstall
  make cluster-down                                              stop the cluster
`
