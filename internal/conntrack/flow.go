// Package conntrack cuts live connections that are no longer allowed, and leaves all others alone.
//
// It decides which entries of the kernel's connection tracking are looked at after a change, when, and how
// they are deleted. It does not decide which of them are forbidden: its caller judges each. It knows nothing
// of Kubernetes, policies or rules.
//
// What a deletion does: the packet that comes next belongs to no known connection and meets the rules like
// the first packet of a new one. Three things follow.
//   - Between the commit of new rules and the deletion, the packets of a forbidden connection still pass: one
//     dump, some milliseconds for a few addresses.
//   - A TCP connection cannot come back from its middle only if the rules drop TCP packets that open no
//     connection; the kernel would otherwise pick it up, perhaps in the wrong direction.
//   - UDP has no first packet, and a reply under way would open a connection in its own direction, in which
//     both directions pass. Replies of what was cut are therefore held for 30 s. An end that still sends of its
//     own accord after that, and may open connections, opens one.
package conntrack

import (
	"fmt"
	"net/netip"
)

// Tuple is one direction of a connection: what its packets look like.
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
	// Orig is how the first packet came, before any NAT; Reply is how its answers come, before theirs.
	Orig, Reply Tuple
	// Master is the first packet of the connection that announced this one (as FTP does); nil for most.
	Master *Tuple

	// key is what identifies the entry to the kernel, in the form in which it came.
	key key
}

// key holds attribute payloads as the kernel gave them.
type key struct {
	family   uint8
	orig     []byte // CTA_TUPLE_ORIG
	zone, id []byte // CTA_ZONE, CTA_ID; nil if absent
}

// Connection gives the flow as a packet filter sees its first packet between destination and source NAT: from
// the client's own address to the server's own address and port.
func (f *Flow) Connection() Tuple {
	return Tuple{
		Src: f.Orig.Src, Dst: f.Reply.Src,
		Protocol: f.Orig.Protocol, SrcPort: f.Orig.SrcPort, DstPort: f.Reply.SrcPort,
		ICMPType: f.Orig.ICMPType,
	}
}

// String gives the connection as a person would write it.
func (f *Flow) String() string {
	c := f.Connection()
	return fmt.Sprintf("%s -> %s protocol %d",
		netip.AddrPortFrom(c.Src, c.SrcPort), netip.AddrPortFrom(c.Dst, c.DstPort), c.Protocol)
}

// involves says whether one of the connection's two ends is in addrs.
func (f *Flow) involves(addrs map[netip.Addr]struct{}) bool {
	if _, ok := addrs[f.Orig.Src]; ok {
		return true
	}
	_, ok := addrs[f.Reply.Src]
	return ok
}
