// Command machine-init is process 1 of a machine of the lab. It is started in new namespaces and waits for a
// line on its standard input, by which time it has been moved into the machine's cgroup. It makes that cgroup
// the root of what the machine sees, names the machine, and serves its supervisor until it is killed, which
// ends every process of the machine.
//
//	machine-init STATE-DIRECTORY NAME SOCKET
//
// The arguments are also how the lab finds its machines again.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/netpol-agent/netpol-agent/test/e2e/lab/supervisor"
)

// settled is set in the environment once the program runs in its cgroup namespace.
const settled = "MACHINE_INIT_SETTLED"

// init keeps main on the process's first thread. If another thread executes a program, the first one is a zombie for a
// moment, and the lab, which asks for the process's state, would take it for dead.
func init() { runtime.LockOSThread() }

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
		return errors.New("not process 1 of a PID namespace")
	}
	if os.Getenv(settled) == "" {
		return settle()
	}
	if err := syscall.Sethostname([]byte(args[1])); err != nil {
		return fmt.Errorf("set host name: %w", err)
	}
	ctx := context.Background()
	l, err := (&net.ListenConfig{}).Listen(ctx, "unix", args[2])
	if err != nil {
		return err
	}
	return supervisor.NewServer().Serve(ctx, l)
}

// settle waits, takes a cgroup namespace and starts the program anew in it: the namespace belongs to the
// calling thread, and only the thread that executes a program survives that; see init.
func settle() error {
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return fmt.Errorf("the lab is gone: %w", err)
	}
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		return fmt.Errorf("cgroup namespace: %w", err)
	}
	return syscall.Exec("/proc/self/exe", os.Args, append(os.Environ(), settled+"=1"))
}
