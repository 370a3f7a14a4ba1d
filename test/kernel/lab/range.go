package lab

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Range is a node that packets are shot through. Whatever source and destination a packet has, it crosses the node's
// hooks as such packets do, and nobody is there to receive or answer it.
type Range struct {
	Node *Namespace
	// Witness of the node's hooks.
	Witness *Witness

	t       testing.TB
	pods    []netip.Prefix
	bridged *gun // a pod's end of the bridge
	routed  *gun // the other end of the uplink
	own     *Injector
	// bridge and target are where a pod sends packets that are to be routed, and packets for another pod.
	bridge, target, uplink net.HardwareAddr
}

// gun sends frames out of one interface of a namespace that has no addresses.
type gun struct {
	fd, index int
	mac       net.HardwareAddr
}

// NewRange returns a node with addresses on its uplink and on the bridge of its pods. The pods' addresses are of the
// bridge's networks.
func NewRange(t testing.TB, pods, uplink []netip.Prefix) *Range {
	t.Helper()
	r := &Range{t: t, Node: newNamespace(t, "node"), target: net.HardwareAddr{0x02, 0, 0, 0, 0, 9}}
	left, right, outside := newNamespace(t, "left"), newNamespace(t, "right"), newNamespace(t, "outside")
	r.Node.Sysctl(t, quiet...)
	r.Node.Sysctl(t, "net/ipv4/ip_forward=1", "net/ipv6/conf/all/forwarding=1", "net/ipv4/conf/all/send_redirects=0",
		"net/bridge/bridge-nf-call-iptables=1", "net/bridge/bridge-nf-call-ip6tables=1", "net/ipv4/conf/default/send_redirects=0")
	for _, n := range []*Namespace{left, right, outside} {
		n.Sysctl(t, "net/ipv6/conf/default/disable_ipv6=1")
	}
	l := &Lab{t: t} // for its methods that create links
	r.bridge = net.HardwareAddr{0x02, 0, 0, 0, 0, 1}
	snooping := false
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "cni0", HardwareAddr: r.bridge}, MulticastSnooping: &snooping}
	l.check(r.Node.links.LinkAdd(bridge), "add the bridge")
	var ends [2]netlink.Link
	for i, n := range []*Namespace{left, right} {
		port, end := l.wire(r.Node, fmt.Sprintf("veth%d", i), n, "eth0")
		l.check(r.Node.links.LinkSetMaster(port, bridge), "attach "+n.Name)
		ends[i] = end
	}
	here, there := l.wire(r.Node, "eth0", outside, "eth0")
	// Nobody answers, so nobody is asked for a link address.
	for _, link := range []netlink.Link{bridge, here} {
		l.check(r.Node.links.LinkSetARPOff(link), "ARP off")
		l.check(r.Node.links.LinkSetUp(link), "up")
	}
	r.Node.waitUp(t, bridge.Name)
	r.Node.address(t, bridge, pods...)
	r.Node.address(t, here, uplink...)
	for _, p := range uplink {
		r.Node.route(t, here, anywhere(p.Addr()), netip.Addr{})
	}
	for _, p := range pods {
		r.pods = append(r.pods, p.Masked())
	}
	r.uplink = here.Attrs().HardwareAddr
	r.bridged, r.routed = openGun(t, left, ends[0]), openGun(t, outside, there)
	r.own = l.Injector(r.Node)
	r.Witness = NewWitness(t, r.Node)
	r.Node.waitOwn(t, append(append([]netip.Prefix{}, pods...), uplink...)...)
	return r
}

// waitOwn waits until the kernel treats the addresses as its own. With IPv6 that happens some time after they are
// added, and until then a rule on packets from the node itself does not match.
func (n *Namespace) waitOwn(t testing.TB, prefixes ...netip.Prefix) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		own := map[string]bool{}
		for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
			routes, err := n.links.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_LOCAL}, netlink.RT_FILTER_TABLE)
			if err != nil {
				t.Fatalf("namespace %s: local routes: %v", n.Name, err)
			}
			for _, r := range routes {
				if r.Type == unix.RTN_LOCAL && r.Dst != nil {
					own[r.Dst.IP.String()] = true
				}
			}
		}
		if !slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return !own[p.Addr().String()] }) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("namespace %s: not all of %v became local", n.Name, prefixes)
		}
	}
}

func openGun(t testing.TB, n *Namespace, link netlink.Link) *gun {
	t.Helper()
	g := &gun{index: link.Attrs().Index, mac: link.Attrs().HardwareAddr}
	err := n.Do(func() (err error) {
		g.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err != nil {
		t.Fatalf("namespace %s: packet socket: %v", n.Name, err)
	}
	t.Cleanup(func() { _ = unix.Close(g.fd) })
	return g
}

func (g *gun) send(to net.HardwareAddr, p Packet) error {
	frame := append(append([]byte{}, to...), g.mac...)
	if p.Src.Is4() {
		frame = append(frame, 0x08, 0x00)
	} else {
		frame = append(frame, 0x86, 0xdd)
	}
	return unix.Sendto(g.fd, append(frame, p.Bytes()...), 0, &unix.SockaddrLinklayer{Ifindex: g.index})
}

// Shoot sends a packet: from the node itself if its source is an address of the node, from the bridge if it is one of a
// pod, else from the uplink. The error unix.EPERM means that the node's output hook dropped the packet.
func (r *Range) Shoot(p Packet) error {
	switch {
	case r.isNode(p.Src):
		return r.own.Send(p)
	case !r.isPod(p.Src):
		return r.routed.send(r.uplink, p)
	case r.isPod(p.Dst):
		return r.bridged.send(r.target, p)
	default:
		return r.bridged.send(r.bridge, p)
	}
}

// Crosses reports whether a packet crosses the forward or the output hook: it is for a single host other than the node.
func (r *Range) Crosses(p Packet) bool {
	for _, a := range []netip.Addr{p.Src, p.Dst} {
		if a.IsMulticast() || a.IsLoopback() || a.IsUnspecified() || a.IsLinkLocalUnicast() || a.Is4() && (a.As4()[0] == 0 || a.As4()[0] >= 240) {
			return false
		}
	}
	routes, err := r.Node.links.RouteGet(p.Dst.AsSlice())
	return err == nil && len(routes) == 1 && routes[0].Type == unix.RTN_UNICAST
}

func (r *Range) isPod(a netip.Addr) bool {
	for _, p := range r.pods {
		if p.Contains(a) {
			return !r.isNode(a)
		}
	}
	return false
}

func (r *Range) isNode(a netip.Addr) bool {
	routes, err := r.Node.links.RouteGet(a.AsSlice())
	return err == nil && len(routes) == 1 && routes[0].Type == unix.RTN_LOCAL
}

// FlushConntrack makes the node forget every connection.
func (r *Range) FlushConntrack() {
	r.t.Helper()
	r.Node.FlushConntrack(r.t)
}
