package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/netpol-agent/netpol-agent/internal/wait"
)

// Packets between two pods on one bridge are switched, not routed. They meet the rules only while br_netfilter passes
// them up, and that is a setting of the network namespace which anybody may switch off.

// BridgeCheck finds out whether the packets of this node's pods reach the rules. It is not safe for concurrent use.
type BridgeCheck struct {
	// OnBridge returns the bridge of this network namespace through which an address is reached, or an empty name.
	OnBridge func(netip.Addr) (string, error)
	Settings Sysctls
	Log      *slog.Logger

	// known remembers what OnBridge returned; old says that it must be asked again for every address.
	known map[netip.Addr]string
	old   bool
}

// Sysctls reads and writes kernel settings by their path below /proc/sys.
type Sysctls interface {
	Read(path string) (string, error)
	Write(path, value string) error
}

// NewBridgeCheck returns a check of the running kernel.
func NewBridgeCheck(log *slog.Logger) *BridgeCheck {
	return &BridgeCheck{OnBridge: routedToBridge, Settings: procSys{}, Log: log}
}

// forget makes the next check ask the kernel about every address again.
func (b *BridgeCheck) forget() { b.old = true }

// Check looks at the pods' addresses. It switches on what is off, if it may. The error says what is missing.
func (b *BridgeCheck) Check(addrs []netip.Addr) error {
	var v4, v6 bool
	known := make(map[netip.Addr]string, len(addrs))
	for _, a := range addrs {
		on, ok := b.known[a]
		if !ok || b.old {
			now, err := b.OnBridge(a)
			switch {
			case err == nil:
				on = now
			case !ok:
				// The pod's interface is not there yet, or is gone. Ask again next time.
				continue
			}
			// If the bridge is down for a moment, the pod is still attached to it.
		}
		known[a] = on
		v4 = v4 || on != ""
		v6 = v6 || on != "" && (a.Is6() || b.hasIPv6())
	}
	b.known, b.old = known, false
	var errs []error
	if v4 {
		errs = append(errs, b.require("net/bridge/bridge-nf-call-iptables"))
	}
	if v6 {
		errs = append(errs, b.require("net/bridge/bridge-nf-call-ip6tables"))
	}
	return errors.Join(errs...)
}

// hasIPv6 reports whether pods can have link-local addresses, even if the cluster assigns no IPv6 addresses.
func (b *BridgeCheck) hasIPv6() bool {
	_, err := b.Settings.Read("net/ipv6/conf/all/disable_ipv6")
	return !errors.Is(err, fs.ErrNotExist)
}

// Bridges returns the bridges of the addresses that the last check looked at, sorted.
func (b *BridgeCheck) Bridges() []string {
	names := slices.Compact(slices.Sorted(maps.Values(b.known)))
	return slices.DeleteFunc(names, func(name string) bool { return name == "" })
}

func (b *BridgeCheck) require(path string) error {
	const effect = "traffic between pods of this node on one bridge passes unjudged"
	value, err := b.Settings.Read(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("br_netfilter is not loaded, so %s: run modprobe br_netfilter on the node", effect)
	case err != nil:
		return fmt.Errorf("cannot read %s, perhaps %s: %w", path, effect, err)
	case value == "1":
		return nil
	}
	if err := b.Settings.Write(path, "1"); err != nil {
		return fmt.Errorf("%s is %s, so %s: set it to 1 on the node, or let the agent write /proc/sys: %w",
			path, value, effect, err)
	}
	b.Log.Info("switched on, so that bridged packets reach the rules", "setting", path, "was", value)
	return nil
}

// procSys is the running kernel's /proc/sys in the calling thread's network namespace.
type procSys struct{}

func (procSys) Read(path string) (string, error) {
	b, err := os.ReadFile("/proc/sys/" + path)
	return string(bytes.TrimSpace(b)), err
}

func (procSys) Write(path, value string) error {
	f, err := os.OpenFile("/proc/sys/"+path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

// routedToBridge returns the bridge that the route to an address leads to, directly or through one of its ports. It
// returns an empty name if there is none.
func routedToBridge(a netip.Addr) (string, error) {
	routes, err := netlink.RouteGet(a.AsSlice())
	if err != nil {
		return "", fmt.Errorf("route to %s: %w", a, err)
	}
	if len(routes) == 0 {
		return "", fmt.Errorf("no route to %s", a)
	}
	if gw := routes[0].Gw; gw != nil {
		return "", fmt.Errorf("%s is not on this node: its route leads to %s", a, gw)
	}
	link, err := netlink.LinkByIndex(routes[0].LinkIndex)
	if err != nil {
		return "", fmt.Errorf("interface of %s: %w", a, err)
	}
	if link.Type() == "bridge" {
		return link.Attrs().Name, nil
	}
	master := link.Attrs().MasterIndex
	if master == 0 {
		return "", nil
	}
	upper, err := netlink.LinkByIndex(master)
	if err != nil {
		return "", fmt.Errorf("interface above that of %s: %w", a, err)
	}
	if upper.Type() != "bridge" {
		return "", nil
	}
	return upper.Attrs().Name, nil
}

// BridgeMonitor repeats the check when local pods change, and from time to time.
type BridgeMonitor struct {
	check  *BridgeCheck
	every  time.Duration
	result func(error)
	found  func([]string)
	addrs  *wait.Mailbox[[]netip.Addr]
	last   []string
	// Looked is closed after the first check that Look asked for.
	Looked chan struct{}
}

// NewBridgeMonitor returns a monitor. Call Run to start it. Result takes the result of each check, and found the
// bridges whenever they are others than before.
func NewBridgeMonitor(check *BridgeCheck, every time.Duration, result func(error), found func([]string)) *BridgeMonitor {
	return &BridgeMonitor{check: check, every: every, result: result, found: found,
		addrs: wait.NewMailbox[[]netip.Addr](), Looked: make(chan struct{})}
}

// Look asks for a check of these addresses, which are all of the local pods. It never blocks.
func (m *BridgeMonitor) Look(addrs []netip.Addr) { m.addrs.Put(addrs) }

// Run works until ctx ends.
func (m *BridgeMonitor) Run(ctx context.Context) {
	tick := time.NewTicker(m.every)
	defer tick.Stop()
	var addrs []netip.Addr
	asked := sync.OnceFunc(func() { close(m.Looked) })
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.addrs.Wake():
			addrs = m.addrs.Get()
			m.look(addrs)
			asked()
		case <-tick.C:
			m.check.forget()
			m.look(addrs)
		}
	}
}

func (m *BridgeMonitor) look(addrs []netip.Addr) {
	m.result(m.check.Check(addrs))
	if names := m.check.Bridges(); !slices.Equal(names, m.last) {
		m.last = names
		m.found(names)
	}
}
