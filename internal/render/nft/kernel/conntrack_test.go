package kernel

import (
	"errors"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/netpol-agent/netpol-agent/internal/render/nft/change"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/ruleset"
)

// TestEstablishedAndRelatedPass checks the only match that needs a connection: a reply and an ICMP error pass only
// through it, and a packet that opens a connection does not.
func TestEstablishedAndRelatedPass(t *testing.T) {
	ns := newNamespace(t)
	c := ns.open(t)
	h, err := netlink.NewHandleAt(netns.NsHandle(ns.FD()))
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	lo, err := h.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	if err := h.LinkSetUp(lo); err != nil {
		t.Fatal(err)
	}
	to := func(port uint16) ruleset.Match {
		return ruleset.DstPort{Protocol: unix.IPPROTO_UDP, First: port, Last: port}
	}
	rs := ruleset.New()
	rs.Chains["output"] = &ruleset.Chain{Name: "output", Hook: &ruleset.Hook{Point: ruleset.Output}, Rules: []ruleset.Rule{
		rule(accept(), "", ruleset.CtEstablished{}),
		rule(accept(), "", to(5000)),
		rule(accept(), "", to(5001)),
		rule(drop(), ""),
	}}
	table := mustLoad(t, c, rs)
	ns.run(t, func() error {
		echo, err := net.ListenPacket("udp", "127.0.0.1:5000")
		if err != nil {
			return err
		}
		defer func() { _ = echo.Close() }()
		go func() {
			b := make([]byte, 8)
			for {
				n, from, err := echo.ReadFrom(b)
				if err != nil {
					return
				}
				// While its rule is missing, the reply is dropped.
				_, _ = echo.WriteTo(b[:n], from)
			}
		}()
		if err := exchange(5000); err != nil {
			t.Errorf("a reply: %v", err)
		}
		if err := exchange(5001); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("an ICMP error: %v", err)
		}
		if err := exchange(5002); !errors.Is(err, syscall.EPERM) {
			t.Errorf("a new connection: %v", err)
		}
		tx := &change.Tx{Ops: []change.Op{change.FlushChain{Table: table, Chain: "output"}}}
		for _, r := range rs.Chains["output"].Rules[1:] {
			tx.Add(change.AddRule{Table: table, Chain: "output", Rule: r})
		}
		if err := c.Commit(tx); err != nil {
			return err
		}
		for _, port := range []int{5000, 5001} {
			var timeout net.Error
			if err := exchange(port); !errors.As(err, &timeout) || !timeout.Timeout() {
				t.Errorf("port %d without the rule: %v", port, err)
			}
		}
		return nil
	})
}

// exchange sends a datagram to a port of this namespace and waits for the answer. It must run on a thread of the
// namespace.
func exchange(port int) error {
	conn, err := net.DialUDP("udp", nil, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte("hello")); err != nil {
		return err
	}
	_, err = conn.Read(make([]byte, 8))
	return err
}
