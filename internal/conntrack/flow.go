// Package conntrack cuts live connections that are no longer allowed, and leaves all others alone.
//
// It decides which entries of the kernel's connection tracking are looked at after a change, when, and how they are
// deleted. It does not decide which of them are forbidden: its caller judges each. It knows nothing about Kubernetes,
// policies or rules.
//
// After a deletion, the next packet belongs to no known connection and meets the rules like the first packet of a new one.
// This has three consequences.
//   - Between the commit of new rules and the deletion, the packets of a forbidden connection still pass. This lasts for
//     one dump: some milliseconds for a few addresses.
//   - The rules must drop TCP packets that open no connection. Otherwise the kernel would pick up a TCP connection in the
//     middle, perhaps in the wrong direction.
//   - UDP has no packet that opens a connection. A reply in flight would open one in its own direction, in which packets
//     of both directions then pass. The replies of a cut connection are therefore held for 30 s. An end that sends of its
//     own accord after that, and is allowed to open connections, opens one.
package conntrack

import (
	"fmt"
	"net/netip"
)

// Tuple describes the packets of one direction of a connection.
type Tuple struct {
	Src, Dst netip.Addr
	// Protocol is the IP protocol number.
	Protocol uint8
	// SrcPort and DstPort are 0 for protocols without ports.
	SrcPort, DstPort uint16
	// ICMPType is the type of an ICMP or ICMPv6 message.
	ICMPType uint8
}

// Flow is one entry of connection tracking.
type Flow struct {
	// Orig describes the first packet before any NAT, Reply its answers before theirs.
	Orig, Reply Tuple
	// Master is the first packet of the connection that announced this one (as FTP does), or nil.
	Master *Tuple

	// key identifies the entry to the kernel.
	key key
}

// key holds attribute payloads as the kernel sent them.
type key struct {
	family   uint8
	orig     []byte // CTA_TUPLE_ORIG
	zone, id []byte // CTA_ZONE, CTA_ID; nil if absent
}

// Connection returns the flow's first packet as a packet filter sees it between destination and source NAT: from the
// client's own address to the server's own address and port.
func (f *Flow) Connection() Tuple {
	return Tuple{
		Src: f.Orig.Src, Dst: f.Reply.Src,
		Protocol: f.Orig.Protocol, SrcPort: f.Orig.SrcPort, DstPort: f.Reply.SrcPort,
		ICMPType: f.Orig.ICMPType,
	}
}

// String returns the connection as a person would write it.
func (f *Flow) String() string {
	c := f.Connection()
	return fmt.Sprintf("%s -> %s protocol %d",
		netip.AddrPortFrom(c.Src, c.SrcPort), netip.AddrPortFrom(c.Dst, c.DstPort), c.Protocol)
}

// involves reports whether one of the connection's two ends is in addrs.
func (f *Flow) involves(addrs map[netip.Addr]struct{}) bool {
	if _, ok := addrs[f.Orig.Src]; ok {
		return true
	}
	_, ok := addrs[f.Reply.Src]
	return ok
}
