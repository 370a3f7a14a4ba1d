package lab

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// BridgeName is the interface to which the node's pods are attached.
const BridgeName = "cni0"

// Addresses of the lab. A pod's address belongs to the bridge's network or is routed to outside.
var (
	// Bridge is the node's end of its pods' network.
	Bridge = prefixes("10.244.1.1/24", "fd00:10:244:1::1/64")
	// Uplink is the node's address on the network of the nodes.
	Uplink = prefixes("192.168.50.1/24", "fd00:192:168:50::1/64")
	// Tunnel is an address of the node like that of Flannel's VXLAN device.
	Tunnel = prefixes("10.244.1.0/32", "fd00:10:244:f::1/128")
	// OtherNode is the address of another node. Outside has it as its own.
	OtherNode = prefixes("192.168.50.2/24", "fd00:192:168:50::2/64")
	// Narrow is a network behind outside whose packets are at most NarrowMTU bytes long. Nobody has any of its addresses.
	Narrow = prefixes("198.51.100.0/24", "2001:db8:51::/64")
)

// NarrowMTU is the length in bytes of the longest packet that reaches Narrow.
const NarrowMTU = 1280

// gateway is where the node sends packets for addresses that it does not have: outside.
var gateway = prefixes("192.168.50.254/24", "fd00:192:168:50::fe/64")

// quiet makes interfaces ready at once and keeps them from limiting or generating packets.
var quiet = []string{
	"net/ipv6/conf/all/accept_dad=0", "net/ipv6/conf/default/accept_dad=0", "net/ipv6/conf/default/accept_ra=0",
	"net/ipv6/conf/all/disable_ipv6=0", "net/ipv6/conf/default/disable_ipv6=0",
	"net/ipv4/conf/all/rp_filter=0", "net/ipv4/conf/default/rp_filter=0",
	"net/ipv4/icmp_ratelimit=0", "net/ipv6/icmp/ratelimit=0",
}

// Lab is a node with its pods and its surroundings.
type Lab struct {
	Node, Outside *Namespace

	t testing.TB
	// uplink is outside's interface to the node.
	uplink netlink.Link

	mu      sync.Mutex
	pods    int
	homes   map[netip.Addr]*Namespace
	servers map[server]struct{}
	closers []func()
	ended   bool

	running sync.WaitGroup
	ids     atomic.Uint32
}

// New returns a node without pods.
func New(t testing.TB) *Lab {
	t.Helper()
	l := &Lab{t: t, homes: map[netip.Addr]*Namespace{}, servers: map[server]struct{}{}}
	t.Cleanup(l.end)
	l.Node, l.Outside = newNamespace(t, "node"), newNamespace(t, "outside")
	l.Node.Sysctl(t, quiet...)
	l.Node.Sysctl(t, "net/ipv4/ip_forward=1", "net/ipv6/conf/all/forwarding=1",
		"net/bridge/bridge-nf-call-iptables=1", "net/bridge/bridge-nf-call-ip6tables=1", "net/ipv4/conf/all/send_redirects=0")
	l.Outside.Sysctl(t, quiet...)
	l.Outside.Sysctl(t, "net/ipv4/ip_forward=1", "net/ipv6/conf/all/forwarding=1")

	// A bridge without an address of its own takes the smallest one of its ports, and changes it when a port is added: its
	// neighbours would then have the wrong one.
	mac := net.HardwareAddr{0x02, 0, 0, 0, 0, 1}
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: BridgeName, HardwareAddr: mac}}
	l.check(l.Node.links.LinkAdd(bridge), "add the bridge")
	l.impatient(l.Node, BridgeName)
	l.Node.address(t, bridge, Bridge...)
	l.check(l.Node.links.LinkSetUp(bridge), "bridge up")

	here, there := l.wire(l.Node, "eth0", l.Outside, "eth0")
	l.uplink = there
	l.Node.address(t, here, Uplink...)
	l.Node.address(t, here, Tunnel...)
	l.Outside.address(t, there, gateway...)
	l.Outside.address(t, there, OtherNode...)
	for i := range gateway {
		l.Node.route(t, here, anywhere(gateway[i].Addr()), gateway[i].Addr())
		l.Outside.route(t, there, Bridge[i].Masked(), Uplink[i].Addr())
	}
	l.narrow()
	for _, list := range [][]netip.Prefix{Bridge, Uplink, Tunnel} {
		for _, p := range list {
			l.homes[p.Addr()] = l.Node
		}
	}
	for i, p := range OtherNode {
		l.homes[p.Addr()] = l.Outside
		l.homes[gateway[i].Addr()] = l.Outside
		l.greet(p.Addr(), Uplink[i].Addr())
		l.greet(Uplink[i].Addr(), gateway[i].Addr())
	}
	return l
}

// impatient makes the namespace soon ask again for a neighbour that does not answer. The first question is lost if the
// kernel has not yet noticed that the other end of a veth pair is up.
func (l *Lab) impatient(n *Namespace, link string) {
	l.t.Helper()
	n.Sysctl(l.t, "net/ipv4/neigh/"+link+"/retrans_time_ms=20", "net/ipv6/neigh/"+link+"/retrans_time_ms=20",
		"net/ipv4/neigh/"+link+"/mcast_solicit=20", "net/ipv6/neigh/"+link+"/mcast_solicit=20")
}

// greet waits until packets travel between two addresses, which takes the kernel some time after it was configured. One
// of the addresses is the node's.
func (l *Lab) greet(from, to netip.Addr) {
	l.t.Helper()
	protocol := ICMPv6
	if from.Is4() {
		protocol = ICMP
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		err := l.Exchange(ctx, protocol, netip.AddrPortFrom(from, l.ID()), netip.AddrPortFrom(to, 0))
		cancel()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			l.t.Fatalf("lab: %s does not reach %s: %v", from, to, err)
		}
	}
}

// atEnd arranges that f is called when the lab ends, or calls it now if the lab has ended.
func (l *Lab) atEnd(f func()) {
	l.mu.Lock()
	ended := l.ended
	if !ended {
		l.closers = append(l.closers, f)
	}
	l.mu.Unlock()
	if ended {
		f()
	}
}

// goes runs f in a goroutine. The lab waits for it when it ends.
func (l *Lab) goes(f func()) { l.running.Go(f) }

func (l *Lab) end() {
	l.mu.Lock()
	closers := l.closers
	l.closers, l.ended = nil, true
	l.mu.Unlock()
	for _, f := range closers {
		f()
	}
	l.running.Wait()
}

// narrow adds a network with a small MTU behind outside.
func (l *Lab) narrow() {
	link, _ := l.wire(l.Outside, "narrow", newNamespace(l.t, "beyond"), "eth0")
	l.check(l.Outside.links.LinkSetMTU(link, NarrowMTU), "MTU of the narrow link")
	l.check(l.Outside.links.LinkSetARPOff(link), "narrow link without ARP")
	for _, p := range Narrow {
		l.Outside.route(l.t, link, p, netip.Addr{})
	}
}

// NodeAddrs returns every address of the node.
func (l *Lab) NodeAddrs() []netip.Addr {
	var out []netip.Addr
	for _, list := range [][]netip.Prefix{Bridge, Uplink, Tunnel} {
		for _, p := range list {
			out = append(out, p.Addr())
		}
	}
	return out
}

// Pod attaches a new namespace with the given addresses to the node's bridge. The bridge sends a pod's own packets back
// to it if they are addressed to it (hairpin), as pods that call themselves through a Service need.
func (l *Lab) Pod(name string, addrs ...netip.Addr) *Namespace {
	l.t.Helper()
	pod := newNamespace(l.t, name)
	pod.Sysctl(l.t, quiet...)
	l.mu.Lock()
	l.pods++
	port := fmt.Sprintf("veth%d", l.pods)
	for _, a := range addrs {
		l.homes[a] = pod
	}
	l.mu.Unlock()
	there, here := l.wire(l.Node, port, pod, "eth0")
	bridge, err := l.Node.links.LinkByName(BridgeName)
	l.check(err, "find the bridge")
	l.check(l.Node.links.LinkSetMaster(there, bridge), "attach "+name)
	l.check(l.Node.links.LinkSetHairpin(there, true), "hairpin for "+name)
	for _, a := range addrs {
		gw := family(Bridge, a)
		pod.address(l.t, here, netip.PrefixFrom(a, gw.Bits()))
		if i := slices.IndexFunc(addrs, func(o netip.Addr) bool { return o.Is4() == a.Is4() }); addrs[i] == a {
			pod.route(l.t, here, anywhere(a), gw.Addr())
		}
	}
	for _, a := range addrs {
		l.greet(family(Bridge, a).Addr(), a)
	}
	return pod
}

// Home returns the namespace that has an address. An address that nobody has is added to outside.
func (l *Lab) Home(a netip.Addr) *Namespace {
	l.t.Helper()
	l.mu.Lock()
	home := l.homes[a]
	if home == nil {
		l.homes[a] = l.Outside
	}
	l.mu.Unlock()
	if home != nil {
		return home
	}
	l.Outside.address(l.t, l.uplink, netip.PrefixFrom(a, a.BitLen()))
	l.greet(a, family(Uplink, a).Addr())
	return l.Outside
}

// Attached reports whether an address has a home already.
func (l *Lab) Attached(a netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.homes[a] != nil
}

// ID returns a number that no other packet or flow of the lab has, to identify it by: a source port, or the identifier
// of an echo. It lies outside the range from which the kernel chooses ports.
func (l *Lab) ID() uint16 { return uint16(10000 + l.ids.Add(1)%20000) }

// wire creates a veth pair between two namespaces.
func (l *Lab) wire(a *Namespace, nameA string, b *Namespace, nameB string) (netlink.Link, netlink.Link) {
	l.t.Helper()
	pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: nameA}, PeerName: nameB, PeerNamespace: netlink.NsFd(b.FD())}
	l.check(a.links.LinkAdd(pair), "connect "+a.Name+" to "+b.Name)
	endA, err := a.links.LinkByName(nameA)
	l.check(err, nameA)
	endB, err := b.links.LinkByName(nameB)
	l.check(err, nameB)
	l.impatient(a, nameA)
	l.impatient(b, nameB)
	l.check(a.links.LinkSetUp(endA), nameA+" up")
	l.check(b.links.LinkSetUp(endB), nameB+" up")
	a.waitUp(l.t, nameA)
	b.waitUp(l.t, nameB)
	return endA, endB
}

// waitUp waits until the kernel has noticed that a link is up, which it does some time after both ends are. Until then it
// drops what is sent there, and a bridge does not forward what arrives there.
func (n *Namespace) waitUp(t testing.TB, name string) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		link, err := n.links.LinkByName(name)
		if err == nil && link.Attrs().OperState == netlink.OperUp {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("namespace %s: %s is not up: %v", n.Name, name, err)
		}
	}
}

func (l *Lab) check(err error, what string) {
	l.t.Helper()
	if err != nil {
		l.t.Fatalf("lab: %s: %v", what, err)
	}
}

func (n *Namespace) address(t testing.TB, link netlink.Link, addrs ...netip.Prefix) {
	t.Helper()
	for _, p := range addrs {
		err := n.links.AddrAdd(link, &netlink.Addr{IPNet: ipNet(p), Flags: unix.IFA_F_NODAD})
		if err != nil {
			t.Fatalf("namespace %s: address %s: %v", n.Name, p, err)
		}
	}
}

func (n *Namespace) route(t testing.TB, link netlink.Link, dst netip.Prefix, via netip.Addr) {
	t.Helper()
	r := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(dst)}
	if via.IsValid() {
		r.Gw = via.AsSlice()
	}
	if err := n.links.RouteAdd(r); err != nil {
		t.Fatalf("namespace %s: route %s: %v", n.Name, dst, err)
	}
}

func prefixes(texts ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(texts))
	for i, s := range texts {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

// family returns the entry of a list that is of the address's family.
func family(list []netip.Prefix, a netip.Addr) netip.Prefix {
	for _, p := range list {
		if p.Addr().Is4() == a.Is4() {
			return p
		}
	}
	return netip.Prefix{}
}

func anywhere(a netip.Addr) netip.Prefix {
	if a.Is4() {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
