// Command demo shows the agent at work in a real cluster, which it starts if there is none. Its exit status is
// 0 only if every connection is as the policies say.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/netpol-agent/netpol-agent/test/e2e/demo"
	"github.com/netpol-agent/netpol-agent/test/e2e/deploy"
	"github.com/netpol-agent/netpol-agent/test/e2e/lab"
	"github.com/netpol-agent/netpol-agent/test/e2e/lab/progress"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	err := run(ctx)
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("%w\ninterrupted; a cluster that was up stays up: \"make cluster-down\" stops it", err)
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	down := flag.Bool("down", false, "stop the cluster afterwards")
	flag.Parse()
	dirs, err := lab.DefaultDirs()
	if err != nil {
		return err
	}
	opts := lab.DefaultOptions()
	c, r, err := deploy.Up(ctx, dirs, opts, progress.New(os.Stderr))
	if err == nil {
		err = show(ctx, c, r, dirs)
	}
	if *down {
		// Clean up even if the context is canceled.
		err = errors.Join(err, lab.Down(context.WithoutCancel(ctx), dirs, progress.New(os.Stderr)))
	}
	return err
}

func show(ctx context.Context, c *lab.Cluster, r *deploy.Release, dirs lab.Dirs) error {
	info, err := os.Stdout.Stat()
	terminal := err == nil && info.Mode()&os.ModeCharDevice != 0
	d, err := demo.New(c, r, dirs, os.Stdout, terminal && os.Getenv("NO_COLOR") == "")
	if err != nil {
		return err
	}
	return d.Run(ctx)
}
