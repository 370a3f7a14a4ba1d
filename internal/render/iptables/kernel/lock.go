package kernel

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// defaultLock is the file that all legacy iptables programs of a node lock. A container must use the node's file.
const defaultLock = "/run/xtables.lock"

// lock waits until the xtables lock is free. The programs wait by themselves too, but do not report for how long, so we
// wait before they start. If another program takes the lock in between, they wait for it.
type lock struct {
	path    string
	wait    time.Duration
	observe func(took time.Duration, failed bool)
}

func newLock() *lock {
	path := os.Getenv("XTABLES_LOCKFILE") // the programs read it too
	if path == "" {
		path = defaultLock
	}
	return &lock{path: path, wait: lockWait, observe: func(time.Duration, bool) {}}
}

const (
	lockPollFirst = time.Millisecond
	lockPollMost  = 50 * time.Millisecond
)

// await waits until the lock is free. It returns ErrLocked if that takes too long.
func (l *lock) await() error {
	file, err := os.OpenFile(l.path, os.O_CREATE|os.O_RDONLY|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("xtables lock: %w", err)
	}
	defer func() { _ = file.Close() }() // closing unlocks
	start := time.Now()
	for pause := lockPollFirst; ; pause = min(2*pause, lockPollMost) {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		took := time.Since(start)
		switch {
		case err == nil:
			l.observe(took, false)
			return nil
		case !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR):
			return fmt.Errorf("xtables lock %s: %w", l.path, err)
		case took >= l.wait:
			l.observe(took, true)
			return fmt.Errorf("%w (%s) for more than %s", ErrLocked, l.path, l.wait)
		}
		<-time.After(pause)
	}
}

// usable returns an error if the lock's file cannot be opened.
func (l *lock) usable() error {
	file, err := os.OpenFile(l.path, os.O_CREATE|os.O_RDONLY|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("xtables lock: %w (in a container it is the node's /run/xtables.lock)", err)
	}
	return file.Close()
}
