package node

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
)

// Addresses watches the addresses of all interfaces in the agent's network namespace. These are what the kernel itself
// calls local.
type Addresses struct {
	// Every is the time between two full lists, which also cover a lost notification.
	Every time.Duration
	Log   *slog.Logger
	// Changed takes the addresses, sorted, at start and whenever they are others.
	Changed func([]netip.Addr)

	last []netip.Addr
}

// Run works until ctx ends. It closes started after the first list.
func (w *Addresses) Run(ctx context.Context, started chan<- struct{}) {
	updates := make(chan netlink.AddrUpdate, 64)
	err := netlink.AddrSubscribeWithOptions(updates, ctx.Done(), netlink.AddrSubscribeOptions{
		ErrorCallback: func(err error) { w.Log.Warn("address notifications ended, polling instead", "error", err) },
	})
	if err != nil {
		w.Log.Warn("address notifications are not available, polling instead", "error", err)
		updates = nil
	}
	w.refresh()
	close(started)
	tick := time.NewTicker(w.Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case _, ok := <-updates:
			if !ok {
				updates = nil
				continue
			}
		case <-tick.C:
		}
		w.refresh()
	}
}

func (w *Addresses) refresh() {
	addrs, err := localAddrs()
	if err != nil {
		w.Log.Warn("cannot list this node's addresses, keeping the former ones", "error", err)
		return
	}
	if slices.Equal(addrs, w.last) {
		return
	}
	w.last = addrs
	w.Log.Debug("node addresses", "addresses", addrs)
	w.Changed(addrs)
}

// localAddrs returns every address of every interface, sorted.
func localAddrs() ([]netip.Addr, error) {
	list, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	out := make([]netip.Addr, 0, len(list))
	for _, a := range list {
		if a.IPNet == nil {
			continue
		}
		if addr, ok := netip.AddrFromSlice(a.IP); ok {
			out = append(out, addr.Unmap())
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out), nil
}
