package lab

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// Namespace is a network namespace that lives as long as its test.
type Namespace struct {
	// Name is for messages only.
	Name   string
	handle netns.NsHandle
	// links configures the namespace.
	links *netlink.Handle
}

// cannot ends a test that cannot run on this machine. In CI that is a failure.
func cannot(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

func newNamespace(t testing.TB, name string) *Namespace {
	t.Helper()
	if os.Geteuid() != 0 {
		cannot(t, "needs root to make network namespaces")
	}
	n := &Namespace{Name: name}
	made := make(chan error)
	go func() {
		// The thread is never unlocked, so it ends with the goroutine and nothing else ever runs in the namespace.
		runtime.LockOSThread()
		var err error
		n.handle, err = netns.New()
		made <- err
	}()
	if err := <-made; err != nil {
		cannot(t, "cannot make a network namespace: %v", err)
	}
	t.Cleanup(func() { _ = n.handle.Close() })
	links, err := netlink.NewHandleAt(n.handle)
	if err != nil {
		t.Fatalf("namespace %s: %v", name, err)
	}
	n.links = links
	t.Cleanup(links.Close)
	lo, err := links.LinkByName("lo")
	if err == nil {
		err = links.LinkSetUp(lo)
	}
	if err != nil {
		t.Fatalf("namespace %s: lo: %v", name, err)
	}
	return n
}

// FD returns a file descriptor of the namespace. The namespace keeps ownership of it.
func (n *Namespace) FD() int { return int(n.handle) }

// Do calls f on a thread of its own inside the namespace: sockets that f opens belong to it. f must neither end the
// test nor start goroutines that need the namespace.
func (n *Namespace) Do(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := netns.Set(n.handle); err != nil {
			done <- fmt.Errorf("enter namespace %s: %w", n.Name, err)
			return
		}
		done <- f()
	}()
	return <-done
}

// Command runs a program inside the namespace with the given standard input, and returns its output.
func (n *Namespace) Command(stdin, name string, args ...string) (string, error) {
	var out bytes.Buffer
	err := n.Do(func() error {
		cmd := exec.Command(name, args...)
		cmd.Stdin = strings.NewReader(stdin)
		cmd.Stdout, cmd.Stderr = &out, &out
		return cmd.Run()
	})
	if err != nil {
		return out.String(), fmt.Errorf("%s in %s: %w\n%s", name, n.Name, err, out.String())
	}
	return out.String(), nil
}

// NFT loads a script in the language of the nft tool.
func (n *Namespace) NFT(t testing.TB, text string) {
	t.Helper()
	if _, err := exec.LookPath("nft"); err != nil {
		cannot(t, "needs the nft tool (apt install nftables)")
	}
	if _, err := n.Command(text, "nft", "-f", "-"); err != nil {
		t.Fatal(err)
	}
}

// Sysctl sets kernel parameters of the namespace, each given as "net/ipv4/ip_forward=1".
func (n *Namespace) Sysctl(t testing.TB, settings ...string) {
	t.Helper()
	err := n.Do(func() error {
		for _, s := range settings {
			path, value, _ := strings.Cut(s, "=")
			if err := os.WriteFile(filepath.Join("/proc/sys", path), []byte(value), 0o644); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		cannot(t, "namespace %s: %v", n.Name, err)
	}
}

// FlushConntrack makes the namespace forget every connection.
func (n *Namespace) FlushConntrack(t testing.TB) {
	t.Helper()
	if err := n.links.ConntrackTableFlush(netlink.ConntrackTable); err != nil {
		t.Fatalf("namespace %s: flush conntrack: %v", n.Name, err)
	}
}
