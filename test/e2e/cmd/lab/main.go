// Command lab starts and stops a real Kubernetes cluster with Flannel on one Linux machine, and runs commands in
// it.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	err := root().ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	// The command that ran in the cluster has already printed its error.
	var exit exitError
	if errors.As(err, &exit) {
		return int(exit)
	}
	if errors.Is(err, context.Canceled) {
		err = errors.New("interrupted")
	}
	fmt.Fprintln(os.Stderr, "lab:", err)
	return 1
}

// exitError is the exit status of a command that was run in the cluster.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }
