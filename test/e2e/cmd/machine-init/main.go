// Command machine-init is process 1 of a machine of the lab. It is started in new namespaces, names the
// machine and serves its supervisor until it is killed, which ends every process of the machine.
//
//	machine-init STATE-DIRECTORY NAME SOCKET
//
// The arguments are also how the lab finds its machines again when its own notes are lost.
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"syscall"

	"github.com/netpol-agent/netpol-agent/test/e2e/lab/supervisor"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "machine-init:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 3 {
		return fmt.Errorf("want 3 arguments (state directory, name, socket), got %d", len(args))
	}
	// Outside a PID namespace of its own this program would rename the host and reap what is not its own.
	if os.Getpid() != 1 {
		return fmt.Errorf("not process 1 of a PID namespace")
	}
	if err := syscall.Sethostname([]byte(args[1])); err != nil {
		return fmt.Errorf("set host name: %w", err)
	}
	l, err := net.Listen("unix", args[2])
	if err != nil {
		return err
	}
	return supervisor.NewServer().Serve(context.Background(), l)
}
