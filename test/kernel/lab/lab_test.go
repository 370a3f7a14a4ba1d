package lab

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// TestKernelLab shows that without policies everything reaches everything, and that the witness sees it.
func TestKernelLab(t *testing.T) {
	start := time.Now()
	l := New(t)
	w := l.Witness()
	a4, a6 := netip.MustParseAddr("10.244.1.10"), netip.MustParseAddr("fd00:10:244:1::10")
	b4, b6 := netip.MustParseAddr("10.244.1.11"), netip.MustParseAddr("fd00:10:244:1::11")
	l.Pod("a", a4, a6)
	l.Pod("b", b4, b6)
	t.Logf("built in %v", time.Since(start))
	far4, far6 := netip.MustParseAddr("10.244.2.10"), netip.MustParseAddr("fd00:10:244:2::10")
	for _, ends := range [][2]netip.Addr{
		{a4, b4}, {a6, b6}, {a4, far4}, {a6, far6}, {far4, a4}, {far6, a6}, {a4, a4}, {a6, a6},
		{a4, Bridge[0].Addr()}, {a6, Uplink[1].Addr()}, {Bridge[0].Addr(), a4}, {Tunnel[0].Addr(), a4},
		{OtherNode[0].Addr(), a4}, {OtherNode[1].Addr(), a6},
	} {
		icmp := ICMP
		if ends[0].Is6() {
			icmp = ICMPv6
		}
		for _, protocol := range []uint8{TCP, UDP, SCTP, icmp} {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			dst := netip.AddrPortFrom(ends[1], 8080)
			if err := l.Serve(protocol, dst); err != nil {
				t.Fatal(err)
			}
			src := netip.AddrPortFrom(ends[0], l.ID())
			began := time.Now()
			if err := l.Exchange(ctx, protocol, src, dst); err != nil {
				t.Errorf("%s > %s protocol %d: %v", src, dst, protocol, err)
			}
			if ends[1] != ends[0] && l.Home(ends[1]) != l.Node {
				s, err := w.Await(ctx, 1, func(p *Packet) bool { return p.SrcPort == src.Port() && p.Src == src.Addr() })
				if err != nil || s.Before == 0 || s.Before != s.After {
					t.Errorf("%s > %s protocol %d: seen %+v, %v", src, dst, protocol, s, err)
				}
			}
			t.Logf("%s > %s protocol %d: %v", src, dst, protocol, time.Since(began))
			cancel()
		}
	}
	t.Logf("whole: %v", time.Since(start))
}

// TestKernelWitnessBeginsUnderTraffic shows that packets which pass meanwhile do not disturb the start of a witness.
func TestKernelWitnessBeginsUnderTraffic(t *testing.T) {
	l := New(t)
	a, b := netip.MustParseAddr("10.244.1.10"), netip.MustParseAddr("10.244.1.11")
	l.Pod("a", a)
	l.Pod("b", b)
	ctx, cancel := context.WithCancel(t.Context())
	var flow sync.WaitGroup
	defer flow.Wait()
	defer cancel()
	for range 4 {
		flow.Go(func() {
			for ctx.Err() == nil {
				if err := l.Exchange(ctx, ICMP, netip.AddrPortFrom(a, l.ID()), netip.AddrPortFrom(b, 0)); err != nil && ctx.Err() == nil {
					t.Errorf("exchange: %v", err)
				}
			}
		})
	}
	for range 20 {
		w := NewWitness(t, l.Node)
		if _, err := w.Await(t.Context(), 1, func(p *Packet) bool { return p.Protocol == ICMP }); err != nil {
			t.Fatal(err)
		}
		w.Close(t)
	}
}
