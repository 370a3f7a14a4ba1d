package ruleset

import (
	"fmt"
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
)

// Match is one condition of a rule. No other types than those of this package implement it. Each is comparable
// with ==.
type Match interface {
	// String returns the match in the language of the nft tool.
	String() string
	facts() Facts
}

// Facts is what a match requires of every packet that it matches, and the set that it looks the packet up in.
type Facts struct {
	// HasFamily, HasProtocol and HasSet are set if the match requires a Family, requires a Protocol, looks up a Set.
	HasFamily, HasProtocol, HasSet bool
	Family                         Family
	Protocol                       uint8
	// Set is the set's name. SetType and Verdicts are the kind of set that the match needs.
	Set      string
	SetType  SetType
	Verdicts bool
	// Foreign is set if nobody knows what the match requires or refers to.
	Foreign bool
}

// FactsOf returns the facts of a match.
func FactsOf(m Match) Facts { return m.facts() }

// Contradicts reports whether no packet can meet both requirements.
func (f Facts) Contradicts(o Facts) bool {
	return f.HasFamily && o.HasFamily && f.Family != o.Family ||
		f.HasProtocol && o.HasProtocol && f.Protocol != o.Protocol
}

func requireFamily(f Family) Facts     { return Facts{Family: f, HasFamily: true} }
func requireProtocol(p uint8) Facts    { return Facts{Protocol: p, HasProtocol: true} }
func (f Facts) protocol(p uint8) Facts { f.Protocol, f.HasProtocol = p, true; return f }

func (f Facts) lookup(set string, v4, v6 SetType) Facts {
	f.HasSet, f.Set, f.SetType = true, set, v6
	if f.Family == V4 {
		f.SetType = v4
	}
	return f
}

// CtEstablished matches packets of a known connection and the ICMP errors that belong to one:
// ct state established,related.
type CtEstablished struct{}

func (CtEstablished) String() string { return "ct state established,related" }
func (CtEstablished) facts() Facts   { return Facts{} }

// IsFamily matches packets of one IP family: meta nfproto ipv4.
type IsFamily struct{ Family Family }

func (m IsFamily) String() string { return fmt.Sprintf("meta nfproto ipv%d", m.Family) }
func (m IsFamily) facts() Facts   { return requireFamily(m.Family) }

// IsProtocol matches packets of one transport protocol: meta l4proto tcp.
type IsProtocol struct{ Protocol uint8 }

func (m IsProtocol) String() string { return "meta l4proto " + protocolText(m.Protocol) }
func (m IsProtocol) facts() Facts   { return requireProtocol(m.Protocol) }

// InPrefix matches packets with one end inside a prefix: ip saddr 10.0.0.0/8. It includes the family check.
type InPrefix struct {
	End    End
	Prefix netip.Prefix
}

func (m InPrefix) family() Family { return program.FamilyOf(m.Prefix.Addr()) }
func (m InPrefix) String() string {
	return fmt.Sprintf("%s %s %s", word(m.family()), m.End.field(), prefixText(m.Prefix))
}
func (m InPrefix) facts() Facts { return requireFamily(m.family()) }

// InSet matches packets with one end in a set of addresses or of address intervals: ip saddr @s. It includes the
// family check.
type InSet struct {
	End    End
	Family Family
	Set    string
}

func (m InSet) String() string { return fmt.Sprintf("%s %s @%s", word(m.Family), m.End.field(), m.Set) }
func (m InSet) facts() Facts   { return requireFamily(m.Family).lookup(m.Set, Addr4, Addr6) }

// DstPort matches one protocol and the destination ports First to Last, both included: tcp dport 80. It includes the
// protocol check. TCP, UDP and SCTP only.
type DstPort struct {
	Protocol    uint8
	First, Last uint16
}

func (m DstPort) String() string {
	return fmt.Sprintf("%s dport %s", protocolText(m.Protocol), rangeText(m.First, m.Last))
}
func (m DstPort) facts() Facts { return requireProtocol(m.Protocol) }

// DstAddrPortInSet matches the destination address and port against a set of such pairs:
// ip daddr . tcp dport @s. It includes the family and the protocol check.
type DstAddrPortInSet struct {
	Family   Family
	Protocol uint8
	Set      string
}

func (m DstAddrPortInSet) String() string {
	return fmt.Sprintf("%s daddr . %s dport @%s", word(m.Family), protocolText(m.Protocol), m.Set)
}
func (m DstAddrPortInSet) facts() Facts {
	return requireFamily(m.Family).protocol(m.Protocol).lookup(m.Set, Addr4Port, Addr6Port)
}

// AddrPairInSet matches source and destination address against a set of such pairs: ip saddr . ip daddr @s. It
// includes the family check.
type AddrPairInSet struct {
	Family Family
	Set    string
}

func (m AddrPairInSet) String() string {
	return fmt.Sprintf("%[1]s saddr . %[1]s daddr @%s", word(m.Family), m.Set)
}
func (m AddrPairInSet) facts() Facts {
	return requireFamily(m.Family).lookup(m.Set, Addr4Pair, Addr6Pair)
}

// LocalSource matches packets whose source is an address of this node: fib saddr type local.
type LocalSource struct{}

func (LocalSource) String() string { return "fib saddr type local" }
func (LocalSource) facts() Facts   { return Facts{} }

// OnBridge matches packets that are switched between two ports of a bridge: iifname "cni0" oifname "cni0".
type OnBridge struct{ Name string }

func (m OnBridge) String() string { return fmt.Sprintf("iifname %[1]q oifname %[1]q", m.Name) }
func (m OnBridge) facts() Facts   { return Facts{} }

// NotUnicast matches packets whose link-layer destination is not a single interface: meta pkttype != host.
type NotUnicast struct{}

func (NotUnicast) String() string { return "meta pkttype != host" }
func (NotUnicast) facts() Facts   { return Facts{} }

// BroadcastDst matches packets whose destination is the broadcast address of a network that this node has an
// interface in, or of all networks: fib daddr type broadcast.
type BroadcastDst struct{}

func (BroadcastDst) String() string { return "fib daddr type broadcast" }
func (BroadcastDst) facts() Facts   { return Facts{} }

// ICMPv6Types matches ICMPv6 types First to Last, both included. It includes the family and protocol check.
type ICMPv6Types struct{ First, Last uint8 }

func (m ICMPv6Types) String() string {
	return "icmpv6 type " + rangeText(uint16(m.First), uint16(m.Last))
}
func (m ICMPv6Types) facts() Facts { return requireFamily(V6).protocol(unix.IPPROTO_ICMPV6) }

// NotSYN matches TCP packets that do not open a connection: tcp flags & (fin | syn | rst | ack) != syn. These flags
// tell the first packet of a connection from all others. It includes the protocol check.
type NotSYN struct{}

func (NotSYN) String() string { return "tcp flags & (fin | syn | rst | ack) != syn" }
func (NotSYN) facts() Facts   { return requireProtocol(unix.IPPROTO_TCP) }

// AddrVerdict looks one end up in a verdict map: ip saddr vmap @m. It includes the family check. It is the last match
// of a rule whose verdict is Continue. If the map has no element for the address, the rule does not match.
type AddrVerdict struct {
	End    End
	Family Family
	Map    string
}

func (m AddrVerdict) String() string {
	return fmt.Sprintf("%s %s vmap @%s", word(m.Family), m.End.field(), m.Map)
}
func (m AddrVerdict) facts() Facts {
	f := requireFamily(m.Family).lookup(m.Map, Addr4, Addr6)
	f.Verdicts = true
	return f
}

// Foreign stands for a rule body read from the kernel that this project did not write. It equals no match that layout
// makes, so a difference always removes it.
type Foreign struct{ Note string }

func (m Foreign) String() string { return "foreign: " + Comment(m.Note) }
func (m Foreign) facts() Facts   { return Facts{Foreign: true} }

func rangeText(first, last uint16) string {
	if first == last {
		return fmt.Sprint(first)
	}
	return fmt.Sprintf("%d-%d", first, last)
}

func prefixText(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

func protocolText(p uint8) string {
	switch p {
	case unix.IPPROTO_ICMP:
		return "icmp"
	case unix.IPPROTO_TCP:
		return "tcp"
	case unix.IPPROTO_UDP:
		return "udp"
	case unix.IPPROTO_ICMPV6:
		return "ipv6-icmp"
	case unix.IPPROTO_SCTP:
		return "sctp"
	}
	return strconv.Itoa(int(p))
}

// HasPorts reports whether rules can ask for the ports of a protocol.
func HasPorts(protocol uint8) bool {
	return protocol == unix.IPPROTO_TCP || protocol == unix.IPPROTO_UDP || protocol == unix.IPPROTO_SCTP
}
