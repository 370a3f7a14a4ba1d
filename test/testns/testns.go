// Package testns provides tests with network namespaces of their own, which vanish with the test.
package testns

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// Cannot ends a test that cannot run on this machine. With CI=true that is a failure.
func Cannot(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// NS is a network namespace that lives as long as its test.
type NS struct {
	t      testing.TB
	handle netns.NsHandle
	links  *netlink.Handle
}

// New returns a network namespace with its loopback interface up.
func New(t testing.TB) *NS {
	t.Helper()
	if os.Geteuid() != 0 {
		Cannot(t, "needs root to make a network namespace")
	}
	type result struct {
		ns  netns.NsHandle
		err error
	}
	done := make(chan result)
	go func() {
		// The thread ends with the goroutine, so nothing else ever runs in the new namespace.
		runtime.LockOSThread()
		ns, err := netns.New()
		done <- result{ns, err}
	}()
	r := <-done
	if r.err != nil {
		Cannot(t, "cannot make a network namespace: %v", r.err)
	}
	n := &NS{t: t, handle: r.ns}
	t.Cleanup(func() { _ = n.handle.Close() })
	links, err := netlink.NewHandleAt(n.handle)
	n.must(err)
	t.Cleanup(links.Close)
	n.links = links
	lo, err := links.LinkByName("lo")
	n.must(err)
	n.must(links.LinkSetUp(lo))
	// Addresses are usable at once: nobody else there could have them.
	for _, which := range []string{"all", "default"} {
		n.Sysctl("net/ipv6/conf/"+which+"/accept_dad", "0")
	}
	return n
}

// FD returns the open file descriptor of the namespace.
func (n *NS) FD() int { return int(n.handle) }

// Run calls f on a thread inside the namespace and returns its error. f must not end the test, and must open sockets
// itself, not in goroutines that it starts.
func (n *NS) Run(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := netns.Set(n.handle); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}

// Sysctl sets a kernel parameter by its path below /proc/sys.
func (n *NS) Sysctl(path, value string) {
	n.t.Helper()
	n.must(n.Run(func() error { return os.WriteFile("/proc/sys/"+path, []byte(value), 0) }))
}

// Connect joins two namespaces by a veth pair with these interface names.
func Connect(a *NS, nameA string, b *NS, nameB string) {
	a.t.Helper()
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: nameA}, PeerName: nameB, PeerNamespace: netlink.NsFd(b.handle)}
	a.must(a.links.LinkAdd(veth))
	a.up(nameA)
	b.up(nameB)
}

// Bridge joins the named interfaces by a bridge.
func (n *NS) Bridge(name string, ports ...string) {
	n.t.Helper()
	br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name}}
	n.must(n.links.LinkAdd(br))
	n.up(name)
	for _, p := range ports {
		l, err := n.links.LinkByName(p)
		n.must(err)
		n.must(n.links.LinkSetMaster(l, br))
	}
}

func (n *NS) up(name string) {
	n.t.Helper()
	l, err := n.links.LinkByName(name)
	n.must(err)
	n.must(n.links.LinkSetUp(l))
}

// Addr adds an address to an interface, as in "10.0.0.1/24".
func (n *NS) Addr(name, prefix string) {
	n.t.Helper()
	l, err := n.links.LinkByName(name)
	n.must(err)
	n.must(n.links.AddrAdd(l, &netlink.Addr{IPNet: ipNet(netip.MustParsePrefix(prefix)), Flags: 0x02 /* IFA_F_NODAD */}))
}

// Route sends packets to a prefix through a gateway.
func (n *NS) Route(prefix, gateway string) {
	n.t.Helper()
	n.must(n.links.RouteAdd(&netlink.Route{Dst: ipNet(netip.MustParsePrefix(prefix)), Gw: net.ParseIP(gateway)}))
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// Dial connects from inside the namespace. The connection is closed when the test ends.
func (n *NS) Dial(network, addr string) net.Conn {
	n.t.Helper()
	var c net.Conn
	n.must(n.Run(func() (err error) {
		c, err = net.Dial(network, addr)
		return err
	}))
	n.t.Cleanup(func() { _ = c.Close() })
	return c
}

// EchoTCP returns on a TCP port what it receives, until the test ends.
func (n *NS) EchoTCP(addr string) {
	n.t.Helper()
	var l net.Listener
	n.must(n.Run(func() (err error) {
		l, err = net.Listen("tcp", addr)
		return err
	}))
	n.t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				buf := make([]byte, 1500)
				for {
					k, err := c.Read(buf)
					if err != nil {
						return
					}
					if _, err := c.Write(buf[:k]); err != nil {
						return
					}
				}
			}()
		}
	}()
}

// EchoUDP returns on a UDP port what it receives, until the test ends.
func (n *NS) EchoUDP(addr string) {
	n.t.Helper()
	var c net.PacketConn
	n.must(n.Run(func() (err error) {
		c, err = net.ListenPacket("udp", addr)
		return err
	}))
	n.t.Cleanup(func() { _ = c.Close() })
	go func() {
		buf := make([]byte, 1500)
		for {
			k, from, err := c.ReadFrom(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				_, _ = c.WriteTo(buf[:k], from)
			}
		}
	}()
}

func (n *NS) must(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(fmt.Errorf("network namespace: %w", err))
	}
}
