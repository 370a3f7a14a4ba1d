package machine

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Interface is the name of every machine's interface on the lab's network.
const Interface = "eth0"

// Port is a machine on the lab's network.
type Port struct {
	Machine Machine
	// Addresses are its addresses, each with the length of its network's prefix.
	Addresses []netip.Prefix
}

// Wire connects the machines with a bridge in the namespace of the hub, which has its addresses on the bridge. Each
// of the others gets an interface. Nothing is created outside the machines' namespaces.
func Wire(hub Port, others []Port) error {
	h, err := handle(hub.Machine)
	if err != nil {
		return err
	}
	defer h.Close()
	// The hub's interface is the bridge itself.
	attrs := netlink.NewLinkAttrs()
	attrs.Name = Interface
	if err := h.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
		return fmt.Errorf("bridge on %s: %w", hub.Machine.Name, err)
	}
	if err := configure(h, hub); err != nil {
		return err
	}
	bridge, err := h.LinkByName(Interface)
	if err != nil {
		return err
	}
	// The hub only forwards frames. Its packet filter must not see them.
	err = hub.Machine.Do(func() error {
		for _, family := range []string{"iptables", "ip6tables"} {
			if err := os.WriteFile("/proc/sys/net/bridge/bridge-nf-call-"+family, []byte("0"), 0); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("bridge on %s: %w", hub.Machine.Name, err)
	}
	for _, port := range others {
		if err := plug(h, bridge, port); err != nil {
			return fmt.Errorf("connect %s to %s: %w", port.Machine.Name, hub.Machine.Name, err)
		}
	}
	return nil
}

func plug(h *netlink.Handle, bridge netlink.Link, port Port) error {
	target, err := netns.GetFromPath(port.Machine.NetNS())
	if err != nil {
		return err
	}
	defer func() { _ = target.Close() }()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = port.Machine.Name
	attrs.MasterIndex = bridge.Attrs().Index
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: Interface, PeerNamespace: netlink.NsFd(int(target))}
	if err := h.LinkAdd(veth); err != nil {
		return err
	}
	if err := h.LinkSetUp(veth); err != nil {
		return err
	}
	inside, err := netlink.NewHandleAt(target)
	if err != nil {
		return err
	}
	defer inside.Close()
	return configure(inside, port)
}

// configure brings up the machine's interface and its loopback, gives the interface its addresses, and returns when
// they can be used.
func configure(h *netlink.Handle, port Port) error {
	link, err := h.LinkByName(Interface)
	if err != nil {
		return fmt.Errorf("%s of %s: %w", Interface, port.Machine.Name, err)
	}
	lo, err := h.LinkByName("lo")
	if err != nil {
		return err
	}
	for _, l := range []netlink.Link{lo, link} {
		if err := h.LinkSetUp(l); err != nil {
			return fmt.Errorf("%s of %s: %w", l.Attrs().Name, port.Machine.Name, err)
		}
	}
	for _, prefix := range port.Addresses {
		addr, err := netlink.ParseAddr(prefix.String())
		if err != nil {
			return err
		}
		if err := h.AddrAdd(link, addr); err != nil {
			return fmt.Errorf("address %s of %s: %w", prefix, port.Machine.Name, err)
		}
	}
	for _, prefix := range port.Addresses {
		if err := awaitLocal(h, prefix.Addr()); err != nil {
			return fmt.Errorf("address %s of %s: %w", prefix, port.Machine.Name, err)
		}
	}
	return nil
}

// localTimeout is how long an address may take until it can be used.
const localTimeout = 10 * time.Second

// awaitLocal waits until the kernel treats the address as local. With IPv6 that takes some time after it was added.
// Until then, binding to it or sending from it fails.
func awaitLocal(h *netlink.Handle, addr netip.Addr) error {
	dst := net.IP(addr.AsSlice())
	for end := time.Now().Add(localTimeout); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		routes, err := h.RouteGet(dst)
		if err == nil && slices.ContainsFunc(routes, func(r netlink.Route) bool { return r.Type == unix.RTN_LOCAL }) {
			return nil
		}
	}
	return fmt.Errorf("the kernel does not treat it as local after %s", localTimeout)
}

func handle(m Machine) (*netlink.Handle, error) {
	ns, err := netns.GetFromPath(m.NetNS())
	if err != nil {
		return nil, fmt.Errorf("network of %s: %w", m.Name, err)
	}
	defer func() { _ = ns.Close() }()
	h, err := netlink.NewHandleAt(ns)
	if err != nil {
		return nil, fmt.Errorf("network of %s: %w", m.Name, err)
	}
	return h, nil
}
