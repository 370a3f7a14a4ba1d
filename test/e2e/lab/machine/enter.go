package machine

import (
	"fmt"
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"
)

// Scope is a set of a machine's namespaces to enter.
type Scope int

const (
	// Network enters the network namespace only: files and processes stay those of this machine.
	Network Scope = unix.CLONE_NEWNET
	// Whole enters all of the machine's namespaces.
	Whole Scope = namespaces | unix.CLONE_NEWCGROUP
)

// Start starts a command in the machine's namespaces. Its Path must be absolute and is looked up inside, as is
// its Dir, "/" if empty. The caller waits for it as for any command.
func (m Machine) Start(cmd *exec.Cmd, scope Scope) error {
	if cmd.Dir == "" {
		cmd.Dir = "/"
	}
	return m.within(scope, cmd.Start)
}

// Do calls f on a thread that is in the machine's network namespace. Sockets that f opens stay there; f must
// not hand the work to other goroutines.
func (m Machine) Do(f func() error) error {
	return m.within(Network, f)
}

func (m Machine) within(scope Scope, f func() error) error {
	done := make(chan error)
	go func() {
		// The thread is never unlocked. It ends with the goroutine, so no other goroutine runs in its namespaces.
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// The first thread outlives its goroutine, and the process would be taken for one of the machine's.
			// While it is locked here, the next goroutine gets another thread.
			defer runtime.UnlockOSThread()
			done <- m.within(scope, f)
			return
		}
		done <- func() error {
			if err := m.enter(scope); err != nil {
				return err
			}
			return f()
		}()
	}()
	return <-done
}

// enter moves the calling thread, and no other, into the machine's namespaces.
func (m Machine) enter(scope Scope) error {
	fd, err := unix.PidfdOpen(m.Init.PID, 0)
	if err != nil {
		return fmt.Errorf("enter machine %s: %w", m.Name, err)
	}
	defer func() { _ = unix.Close(fd) }()
	if !m.Alive() {
		return fmt.Errorf("enter machine %s: it does not run", m.Name)
	}
	// A thread that shares its working directory with others may not change its mount namespace.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("enter machine %s: unshare: %w", m.Name, err)
	}
	if err := unix.Setns(fd, int(scope)); err != nil {
		return fmt.Errorf("enter machine %s: setns: %w", m.Name, err)
	}
	return nil
}
