package sync

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
)

// addrWatcher keeps the engine informed of this node's addresses: those of all interfaces of the network
// namespace the agent runs in, which is what the kernel itself calls local.
type addrWatcher struct {
	queue *Queue
	log   *slog.Logger
	// every is the time between two full lists, which also cover what a lost notification hides.
	every time.Duration
	last  []netip.Addr
}

// run works until ctx ends. The first list is in the queue before started is closed.
func (w *addrWatcher) run(ctx context.Context, started chan<- struct{}) {
	updates := make(chan netlink.AddrUpdate, 64)
	err := netlink.AddrSubscribeWithOptions(updates, ctx.Done(), netlink.AddrSubscribeOptions{
		ErrorCallback: func(err error) { w.log.Warn("address notifications ended, polling instead", "error", err) },
	})
	if err != nil {
		w.log.Warn("address notifications are not available, polling instead", "error", err)
		updates = nil
	}
	w.refresh()
	close(started)
	tick := time.NewTicker(w.every)
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

func (w *addrWatcher) refresh() {
	addrs, err := localAddrs()
	if err != nil {
		w.log.Warn("cannot list this node's addresses, keeping the former ones", "error", err)
		return
	}
	if slices.Equal(addrs, w.last) {
		return
	}
	w.last = addrs
	w.log.Debug("node addresses", "addresses", addrs)
	w.queue.Put(Event{Key: Key{Kind: NodeAddrs}, Object: addrs, At: time.Now()})
}

// localAddrs gives every address of every interface, sorted.
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
