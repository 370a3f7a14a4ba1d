// Package ruleset holds what one nftables table contains as a plain value, and what follows from the value
// alone: its canonical text, the transaction that leads from one value to another, whether the kernel would
// accept a transaction, and the verdict that a packet gets (trace).
//
// It does not decide what the rules should be (package layout does) and does not talk to the kernel (package
// kernel does). It knows exactly those sets, chains and expressions that this project writes.
package ruleset

import "net/netip"

// Ruleset is the content of one table of family inet. Maps are never nil.
type Ruleset struct {
	Chains map[string]*Chain
	Sets   map[string]*Set
}

// New gives an empty Ruleset.
func New() *Ruleset {
	return &Ruleset{Chains: map[string]*Chain{}, Sets: map[string]*Set{}}
}

// Chain is a base chain, if Hook is set, or a regular one.
type Chain struct {
	Name    string
	Comment string
	Hook    *Hook
	Rules   []Rule
}

// HookPoint is where a base chain meets packets.
type HookPoint uint8

const (
	// Forward sees routed packets and, through br_netfilter, bridged ones.
	Forward HookPoint = iota
	// Output sees packets that this node sends itself.
	Output
)

// Hook makes a chain a base chain of type filter with policy accept.
type Hook struct {
	Point    HookPoint
	Priority int32
}

// Rule applies its verdict to packets that all of Matches match. Matches are evaluated in order, so the
// cheapest and most selective one stands first.
type Rule struct {
	Matches []Match
	Verdict Verdict
	// Comment is at most 128 bytes, the limit of the nft tool.
	Comment string
}

// VerdictKind is what a rule or a verdict map's element does to a packet.
type VerdictKind uint8

const (
	// Continue goes on with the next rule: for rules whose last match is a verdict map.
	Continue VerdictKind = iota
	// Accept ends the evaluation of this table's base chain.
	Accept
	// Drop ends the packet.
	Drop
	// Return goes back to the rule after the last jump.
	Return
	// Jump goes to a chain and comes back.
	Jump
	// Goto goes to a chain and does not come back to this one.
	Goto
)

// Verdict of a rule or of a verdict map's element. Chain is set for Jump and Goto only.
type Verdict struct {
	Kind  VerdictKind
	Chain string
}

// End is one end of a packet.
type End uint8

const (
	// Src is the source address of the packet.
	Src End = iota
	// Dst is the destination address of the packet.
	Dst
)

// Family is an IP family.
type Family uint8

const (
	// V4 is IPv4.
	V4 Family = 4
	// V6 is IPv6.
	V6 Family = 6
)

// FamilyOf gives the family of an unmapped address.
func FamilyOf(a netip.Addr) Family {
	if a.Is4() {
		return V4
	}
	return V6
}

// Match is one condition of a rule. The types of this package that implement it are all there are; each is
// comparable with ==.
type Match interface{ isMatch() }

// CtEstablished matches packets of a known connection and the ICMP errors that belong to one:
// ct state established,related.
type CtEstablished struct{}

// IsFamily matches packets of one IP family: meta nfproto ipv4.
type IsFamily struct{ Family Family }

// IsProtocol matches packets of one transport protocol: meta l4proto tcp.
type IsProtocol struct{ Protocol uint8 }

// InPrefix matches packets with one end inside a prefix: ip saddr 10.0.0.0/8. It includes the family check.
type InPrefix struct {
	End    End
	Prefix netip.Prefix
}

// InSet matches packets with one end in a set of addresses or of address intervals: ip saddr @s. It includes
// the family check.
type InSet struct {
	End    End
	Family Family
	Set    string
}

// DstPort matches one protocol and the destination ports First to Last, both included: tcp dport 80. It
// includes the protocol check. TCP, UDP and SCTP only.
type DstPort struct {
	Protocol    uint8
	First, Last uint16
}

// DstAddrPortInSet matches the destination address and port against a set of such pairs:
// ip daddr . tcp dport @s. It includes the family and the protocol check.
type DstAddrPortInSet struct {
	Family   Family
	Protocol uint8
	Set      string
}

// AddrPairInSet matches source and destination address against a set of such pairs:
// ip saddr . ip daddr @s. It includes the family check.
type AddrPairInSet struct {
	Family Family
	Set    string
}

// LocalSource matches packets whose source is an address of this node: fib saddr type local.
type LocalSource struct{}

// OnBridge matches packets that are switched between two ports of a bridge: iifname "cni0" oifname "cni0".
type OnBridge struct{ Name string }

// NotUnicast matches packets whose link-layer destination is not one interface alone: meta pkttype != host.
type NotUnicast struct{}

// BroadcastDst matches packets whose destination is a broadcast address of a network that this node has an interface
// in, or that of all networks: fib daddr type broadcast.
type BroadcastDst struct{}

// ICMPv6Types matches ICMPv6 types First to Last, both included. It includes the family and protocol check.
type ICMPv6Types struct{ First, Last uint8 }

// NotSYN matches TCP packets that do not open a connection: tcp flags & (fin | syn | rst | ack) != syn. It
// includes the protocol check.
type NotSYN struct{}

// AddrVerdict looks one end up in a verdict map: ip saddr vmap @m. It includes the family check. It is the
// last match of a rule whose verdict is Continue; without an element for the address the rule does not match.
type AddrVerdict struct {
	End    End
	Family Family
	Map    string
}

// PortVerdict looks protocol and destination port up in a verdict map:
// meta l4proto . th dport vmap @m. Like AddrVerdict it is the last match of a rule. Only packets of TCP, UDP
// or SCTP may have elements.
type PortVerdict struct{ Map string }

func (CtEstablished) isMatch()    {}
func (IsFamily) isMatch()         {}
func (IsProtocol) isMatch()       {}
func (InPrefix) isMatch()         {}
func (InSet) isMatch()            {}
func (DstPort) isMatch()          {}
func (DstAddrPortInSet) isMatch() {}
func (AddrPairInSet) isMatch()    {}
func (LocalSource) isMatch()      {}
func (OnBridge) isMatch()         {}
func (NotUnicast) isMatch()       {}
func (BroadcastDst) isMatch()     {}
func (ICMPv6Types) isMatch()      {}
func (NotSYN) isMatch()           {}
func (AddrVerdict) isMatch()      {}
func (PortVerdict) isMatch()      {}

// Foreign stands for a rule body read from the kernel that this project did not write. It equals no match
// that layout makes, so a difference always removes it.
type Foreign struct{ Note string }

func (Foreign) isMatch() {}

// SetType is the type of a set's keys.
type SetType uint8

const (
	// Addr4 is ipv4_addr, in Elem.A.
	Addr4 SetType = iota
	// Addr6 is ipv6_addr, in Elem.A.
	Addr6
	// Addr4Port is ipv4_addr . inet_service, in Elem.A and Elem.Port.
	Addr4Port
	// Addr6Port is ipv6_addr . inet_service, in Elem.A and Elem.Port.
	Addr6Port
	// Addr4Pair is ipv4_addr . ipv4_addr, in Elem.A and Elem.B.
	Addr4Pair
	// Addr6Pair is ipv6_addr . ipv6_addr, in Elem.A and Elem.B.
	Addr6Pair
	// ProtoPort is inet_proto . inet_service, in Elem.Proto and Elem.Port.
	ProtoPort
)

// Set is a set or, with Verdicts, a verdict map. Name, Type, Interval and Verdicts of an installed set never
// change: a set that needs other ones has another name.
type Set struct {
	Name    string
	Comment string
	Type    SetType
	// Interval makes each element the addresses Elem.A to Elem.B, both included; only for Addr4 and Addr6.
	// Intervals of one set never overlap nor touch.
	Interval bool
	// Verdicts makes the set a verdict map. Never together with Interval.
	Verdicts bool
	// Elems holds the elements; the value is the zero Verdict unless Verdicts is set.
	Elems map[Elem]Verdict
}

// Elem is the key of an element; which fields count depends on the set's type, the others are zero.
type Elem struct {
	A, B  netip.Addr
	Proto uint8
	Port  uint16
}
