package machine

import (
	"fmt"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// Interface is the name of every machine's interface on the lab's network.
const Interface = "eth0"

// Port is a machine on the lab's network.
type Port struct {
	Machine Machine
	// Address is its address and the length of the network's prefix.
	Address netip.Prefix
}

// Wire joins the machines by a bridge in the namespace of the first one, which has its address on the bridge;
// each of the others gets an interface. Nothing of it is made outside the machines' namespaces.
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
	// The hub only forwards frames; what passes is not for its packet filter.
	err = hub.Machine.Do(func() error {
		return os.WriteFile("/proc/sys/net/bridge/bridge-nf-call-iptables", []byte("0"), 0)
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

// configure gives the machine's interface its address, and switches it and the loopback on.
func configure(h *netlink.Handle, port Port) error {
	link, err := h.LinkByName(Interface)
	if err != nil {
		return fmt.Errorf("%s of %s: %w", Interface, port.Machine.Name, err)
	}
	addr, err := netlink.ParseAddr(port.Address.String())
	if err != nil {
		return err
	}
	if err := h.AddrAdd(link, addr); err != nil {
		return fmt.Errorf("address %s of %s: %w", port.Address, port.Machine.Name, err)
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
	return nil
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
