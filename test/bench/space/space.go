// Package space creates network namespaces that nobody else sees. They have no name and no mount: closing the last file
// descriptor removes them with everything in them, and so does the end of the process, however it comes.
package space

import (
	"fmt"
	"os"
	"runtime"

	"github.com/vishvananda/netns"

	"github.com/netpol-agent/netpol-agent/internal/render/nft/kernel"
)

// Space is a network namespace.
type Space struct{ handle netns.NsHandle }

// New creates an empty network namespace. It needs root.
func New() (*Space, error) {
	s := &Space{}
	err := OnThread(func() (err error) {
		s.handle, err = netns.New()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("make a network namespace (needs root): %w", err)
	}
	return s, nil
}

// FD returns the namespace's file descriptor. Close closes it.
func (s *Space) FD() int { return int(s.handle) }

// Handle returns the namespace as a handle of package netns.
func (s *Space) Handle() netns.NsHandle { return s.handle }

// Close releases the namespace.
func (s *Space) Close() error { return s.handle.Close() }

// Do runs f on a thread inside the namespace.
func (s *Space) Do(f func() error) error {
	return OnThread(func() error {
		if err := netns.Set(s.handle); err != nil {
			return fmt.Errorf("enter network namespace: %w", err)
		}
		return f()
	})
}

// Enter moves the calling thread into the namespace. The caller must have locked its goroutine to the thread, and must
// not unlock it.
func (s *Space) Enter() error { return netns.Set(s.handle) }

// Sysctl sets a value below /proc/sys/net.
func (s *Space) Sysctl(name, value string) error {
	return s.Do(func() error { return os.WriteFile("/proc/sys/net/"+name, []byte(value), 0o644) })
}

// Connect opens nf_tables of the namespace.
func (s *Space) Connect() (*kernel.Conn, error) {
	c, err := kernel.Open(kernel.WithNetNS(s.FD()))
	if err != nil {
		return nil, fmt.Errorf("network namespace: %w", err)
	}
	return c, nil
}

// OnThread runs f on a thread that ends with it, so that nothing else ever runs where f left the thread.
func OnThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		done <- f()
	}()
	return <-done
}
