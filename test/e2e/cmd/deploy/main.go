// Command deploy installs the agent into the lab's cluster, or upgrades it there, through image and chart.
//
//	deploy [arguments of helm]
//	deploy --uninstall [arguments of helm]
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
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
	c, err := lab.Load(dirs.State)
	if err != nil {
		return err
	}
	p := progress.New(os.Stderr)
	if len(args) > 0 && args[0] == "--uninstall" {
		r, err := deploy.New(c, dirs.Repo)
		if err != nil {
			return err
		}
		if err := r.Uninstall(ctx, args[1:]...); err != nil {
			return err
		}
		p.Step("the agents and their rules are gone")
		return nil
	}
	return install(ctx, c, dirs.Repo, p, args)
}

func install(ctx context.Context, c *lab.Cluster, repo string, p *progress.Printer, args []string) error {
	p.Step("building image and helm")
	if err := deploy.Build(ctx, repo); err != nil {
		return err
	}
	r, err := deploy.New(c, repo)
	if err != nil {
		return err
	}
	p.Step("installing %s through the chart", r.Image().Name())
	if err := r.Install(ctx, args...); err != nil {
		return err
	}
	var nodes []string
	for _, n := range c.Nodes {
		nodes = append(nodes, n.Name)
	}
	p.Step("the agents on %s enforce", strings.Join(nodes, ", "))
	return nil
}
