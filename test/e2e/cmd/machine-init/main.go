// Command machine-init is process 1 of a machine of the lab. It is started in new namespaces and waits for a line
// on its standard input. By then it has been moved into the machine's cgroup. It makes that cgroup the root that
// the machine sees, sets the host name, and serves its supervisor until it is killed. Killing it ends every process
// of the machine.
//
//	machine-init STATE-DIRECTORY NAME SOCKET
//
// The lab also finds its running machines by these arguments.
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

// init keeps main on the process's first thread. If another thread calls exec, the first one is a zombie for a
// moment, and the lab, which reads the process's state, would take the process for dead.
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
	// Outside its own PID namespace, this program would rename the host and reap children that are not its own.
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

// settle waits, creates a cgroup namespace and executes the program again in it. The namespace belongs to the
// calling thread, and only the thread that calls exec survives; see init.
func settle() error {
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return fmt.Errorf("the lab is gone: %w", err)
	}
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		return fmt.Errorf("cgroup namespace: %w", err)
	}
	return syscall.Exec("/proc/self/exe", os.Args, append(os.Environ(), settled+"=1"))
}
