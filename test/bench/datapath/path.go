package datapath

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	ipruleset "github.com/netpol-agent/netpol-agent/internal/render/iptables/ruleset"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/change"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/kernel"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/ruleset"
	"github.com/netpol-agent/netpol-agent/test/bench/rules"
	"github.com/netpol-agent/netpol-agent/test/bench/space"
)

// Path is a client and a server with a router in between.
type Path struct {
	client, router, server *space.Space
	clientAddr, serverAddr netip.Addr
	conn                   *kernel.Conn
	// tracked deletes the router's connections.
	tracked *netlink.Handle
	closers []func() error
}

// NewPath creates a path between two IPv4 addresses, with connection tracking and without rules.
func NewPath(client, server netip.Addr) (*Path, error) {
	p := &Path{clientAddr: client, serverAddr: server}
	if err := p.build(); err != nil {
		return nil, errors.Join(fmt.Errorf("path from %s to %s: %w", client, server, err), p.Close())
	}
	return p, nil
}

// Close removes the path.
func (p *Path) Close() error {
	var errs []error
	for i := len(p.closers) - 1; i >= 0; i-- {
		errs = append(errs, p.closers[i]())
	}
	p.closers = nil
	return errors.Join(errs...)
}

func (p *Path) build() error {
	for _, s := range []**space.Space{&p.client, &p.router, &p.server} {
		made, err := space.New()
		if err != nil {
			return err
		}
		*s = made
		p.closers = append(p.closers, made.Close)
	}
	for _, end := range []struct {
		space *space.Space
		addr  netip.Addr
		name  string
	}{{p.client, p.clientAddr, "to-client"}, {p.server, p.serverAddr, "to-server"}} {
		if err := p.join(end.space, end.addr, end.name); err != nil {
			return fmt.Errorf("%s: %w", end.addr, err)
		}
	}
	for _, v := range []struct {
		space       *space.Space
		name, value string
	}{
		{p.router, "ipv4/ip_forward", "1"},
		{p.client, "ipv4/ip_local_port_range", "1024 65535"},
		{p.server, "core/somaxconn", "65535"},
	} {
		if err := v.space.Sysctl(v.name, v.value); err != nil {
			return err
		}
	}
	conn, err := p.router.Connect()
	if err != nil {
		return err
	}
	p.conn = conn
	p.closers = append(p.closers, conn.Close)
	return p.track()
}

// Addresses of the routers' ends, and the hardware addresses of all ends. All neighbours are configured, so nobody ever
// asks.
var (
	gateway  = net.IPv4(169, 254, 1, 1)
	nearMAC  = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	farMAC   = net.HardwareAddr{2, 0, 0, 0, 0, 2}
	wholeNet = &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}
)

// host returns an address as a network of one.
func host(ip net.IP) *net.IPNet { return &net.IPNet{IP: ip, Mask: net.CIDRMask(32, 32)} }

// join connects an end with the router.
func (p *Path) join(end *space.Space, addr netip.Addr, name string) error {
	inside, err := netlink.NewHandleAt(end.Handle())
	if err != nil {
		return err
	}
	defer inside.Close()
	outside, err := netlink.NewHandleAt(p.router.Handle())
	if err != nil {
		return err
	}
	defer outside.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.HardwareAddr = "eth0", nearMAC
	err = inside.LinkAdd(&netlink.Veth{
		LinkAttrs: attrs, PeerName: name, PeerHardwareAddr: farMAC, PeerNamespace: netlink.NsFd(p.router.FD()),
	})
	if err != nil {
		return fmt.Errorf("veth: %w", err)
	}
	ip := net.IP(addr.AsSlice())
	if err := configure(inside, "eth0", host(ip), gateway, farMAC, host(gateway), wholeNet); err != nil {
		return err
	}
	return configure(outside, name, host(gateway), ip, nearMAC, host(ip))
}

// configure brings up a link with an address, a neighbour and routes to or through it.
func configure(h *netlink.Handle, name string, own *net.IPNet, other net.IP, mac net.HardwareAddr, routes ...*net.IPNet) error {
	link, err := h.LinkByName(name)
	if err != nil {
		return err
	}
	index := link.Attrs().Index
	if err := h.AddrAdd(link, &netlink.Addr{IPNet: own}); err != nil {
		return fmt.Errorf("address %s: %w", own, err)
	}
	if err := h.LinkSetUp(link); err != nil {
		return fmt.Errorf("link %s: %w", name, err)
	}
	neigh := &netlink.Neigh{LinkIndex: index, Family: unix.AF_INET, State: netlink.NUD_PERMANENT, IP: other, HardwareAddr: mac}
	if err := h.NeighSet(neigh); err != nil {
		return fmt.Errorf("neighbour %s: %w", other, err)
	}
	for _, dst := range routes {
		r := &netlink.Route{LinkIndex: index, Dst: dst, Scope: netlink.SCOPE_LINK}
		if ones, _ := dst.Mask.Size(); ones == 0 {
			r.Scope, r.Gw = netlink.SCOPE_UNIVERSE, other
		}
		if err := h.RouteAdd(r); err != nil {
			return fmt.Errorf("route to %s: %w", dst, err)
		}
	}
	return nil
}

// trackTable is loaded into every router. A rule that matches a connection's state makes the kernel follow connections
// in the namespace. In a chain without a hook no packet reaches it.
const trackTable = "follow-connections"

func (p *Path) track() error {
	rule := ruleset.Rule{Matches: []ruleset.Match{ruleset.CtEstablished{}}, Verdict: ruleset.Verdict{Kind: ruleset.Accept}}
	err := p.conn.Commit(&change.Tx{Ops: []change.Op{
		change.AddTable{Table: trackTable, Comment: "makes the kernel follow connections"},
		change.AddChain{Table: trackTable, Chain: &ruleset.Chain{Name: "unhooked"}},
		change.AddRule{Table: trackTable, Chain: "unhooked", Rule: rule},
	}})
	if err != nil {
		return err
	}
	p.tracked, err = netlink.NewHandleAt(p.router.Handle(), unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	p.closers = append(p.closers, func() error { p.tracked.Close(); return nil })
	return nil
}

// Enforce makes the router enforce a program with a backend.
func (p *Path) Enforce(backend string, prog *program.Program) error {
	r, err := rules.Open(p.router, backend)
	if err != nil {
		return err
	}
	p.closers = append(p.closers, r.Close)
	_, err = r.Sync(prog)
	return err
}

// Hook adds to the router, without any rule, the chain at forward that contains a backend's rules or leads to them.
// Other components of a node that use iptables leave it there too.
func (p *Path) Hook(backend string) error {
	if backend == rules.NFTables {
		const table = "empty"
		return p.conn.Commit(&change.Tx{Ops: []change.Op{
			change.AddTable{Table: table, Comment: "for comparison"},
			change.AddChain{Table: table, Chain: &ruleset.Chain{Name: "forward", Hook: &ruleset.Hook{Point: ruleset.Forward, Priority: 5}}},
		}})
	}
	return p.Restore(backend, "-P FORWARD ACCEPT")
}

// Restore changes the router's filter table by lines for iptables-restore, through a backend's programs.
func (p *Path) Restore(backend, lines string) error {
	programs, err := rules.Programs(p.router, backend)
	if err != nil {
		return err
	}
	return programs.Restore(ipruleset.V4, "*filter\n"+lines+"\nCOMMIT\n")
}

// Tracked returns the number of connections that the router knows.
func (p *Path) Tracked() (int, error) {
	flows, err := p.tracked.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET)
	return len(flows), err
}

// Forget makes the router forget all connections.
func (p *Path) Forget() error { return p.tracked.ConntrackTableFlush(netlink.ConntrackTable) }
