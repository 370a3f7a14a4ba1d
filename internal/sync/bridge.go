package sync

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
	"time"

	"github.com/vishvananda/netlink"
)

// Packets between two pods on one bridge are switched, not routed. They meet the rules only while
// br_netfilter hands them up, and that is a setting of the network namespace which anybody may switch off.

// bridgeCheck says whether the packets of this node's pods reach the rules. Not for concurrent use.
type bridgeCheck struct {
	// onBridge gives the bridge of this network namespace through which an address is reached; empty for none.
	onBridge func(netip.Addr) (string, error)
	settings sysctls
	log      *slog.Logger
	// known remembers what onBridge said; old says that all of it is to be asked again.
	known map[netip.Addr]string
	old   bool
}

// sysctls reads and writes kernel settings by their path below /proc/sys.
type sysctls interface {
	read(path string) (string, error)
	write(path, value string) error
}

func newBridgeCheck(log *slog.Logger) *bridgeCheck {
	return &bridgeCheck{onBridge: routedToBridge, settings: procSys{}, log: log, known: map[netip.Addr]string{}}
}

// forget makes the next check ask the kernel for every address again.
func (b *bridgeCheck) forget() { b.old = true }

// check looks at the pods' addresses. It switches on what is off, if it may; the error says what is missing.
func (b *bridgeCheck) check(addrs []netip.Addr) error {
	var v4, v6 bool
	known := make(map[netip.Addr]string, len(addrs))
	for _, a := range addrs {
		on, ok := b.known[a]
		if !ok || b.old {
			now, err := b.onBridge(a)
			switch {
			case err == nil:
				on = now
			case !ok:
				// The pod's interface is not there yet, or no more. Ask again next time.
				continue
			}
			// A bridge that is down for a moment is still the one on which the pod hangs.
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

// hasIPv6 says whether pods can have link-local addresses even where the cluster gives them none of IPv6.
func (b *bridgeCheck) hasIPv6() bool {
	_, err := b.settings.read("net/ipv6/conf/all/disable_ipv6")
	return !errors.Is(err, fs.ErrNotExist)
}

// bridges gives the bridges of the addresses that the last check looked at, sorted.
func (b *bridgeCheck) bridges() []string {
	names := slices.Sorted(maps.Values(b.known))
	return slices.DeleteFunc(slices.Compact(names), func(name string) bool { return name == "" })
}

func (b *bridgeCheck) require(path string) error {
	const effect = "traffic between pods of this node on one bridge passes unjudged"
	value, err := b.settings.read(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("br_netfilter is not loaded, so %s: run modprobe br_netfilter on the node", effect)
	case err != nil:
		return fmt.Errorf("cannot read %s, perhaps %s: %w", path, effect, err)
	case value == "1":
		return nil
	}
	if err := b.settings.write(path, "1"); err != nil {
		return fmt.Errorf("%s is %s, so %s: set it to 1 on the node, or let the agent write /proc/sys: %w",
			path, value, effect, err)
	}
	b.log.Info("switched on, so that bridged packets reach the rules", "setting", path, "was", value)
	return nil
}

// procSys is the running kernel's /proc/sys, as the calling thread's network namespace sees it.
type procSys struct{}

func (procSys) read(path string) (string, error) {
	b, err := os.ReadFile("/proc/sys/" + path)
	return string(bytes.TrimSpace(b)), err
}

func (procSys) write(path, value string) error {
	f, err := os.OpenFile("/proc/sys/"+path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

// routedToBridge gives the bridge that the route to an address leads to, itself or through a port of it; empty for none.
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

// bridgeMonitor repeats the check when local pods change and from time to time.
type bridgeMonitor struct {
	check  *bridgeCheck
	every  time.Duration
	addrs  *mailbox[[]netip.Addr]
	result func(error)
	// found takes the bridges whenever they are others than before.
	found func([]string)
	// looked is closed after the first look at addresses.
	looked chan struct{}
}

func (m *bridgeMonitor) run(ctx context.Context) {
	tick := time.NewTicker(m.every)
	defer tick.Stop()
	var addrs []netip.Addr
	var last []string
	given := false
	for {
		first := false
		select {
		case <-ctx.Done():
			return
		case <-m.addrs.wake:
			addrs = m.addrs.take()
			first, given = !given, true
		case <-tick.C:
			m.check.forget()
		}
		m.result(m.check.check(addrs))
		if names := m.check.bridges(); !slices.Equal(names, last) {
			last = names
			m.found(names)
		}
		if first {
			close(m.looked)
		}
	}
}
