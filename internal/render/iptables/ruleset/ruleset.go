// Package ruleset holds what one node's iptables chains and ipsets contain as plain values, and what follows from the
// values alone: their canonical text (that of iptables-save and ipset save), and what leads from the installed text to
// the desired one.
//
// It does not decide what the rules are (package layout does) and does not run any program (package kernel does). It
// knows exactly those matches, targets and set types that this project writes.
package ruleset

import (
	"net/netip"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
)

// Prefix begins the name of every chain and set of ours. Whatever bears it is ours to change and to remove; nothing else
// is.
const Prefix = "NETPOL-"

// Names of the chains that the built-in chains jump to.
const (
	ChainForward = Prefix + "FORWARD"
	ChainOutput  = Prefix + "OUTPUT"
)

// Family is an IP family.
type Family = program.Family

// Both families.
const (
	V4 = program.V4
	V6 = program.V6
)

// Ruleset holds both families.
type Ruleset struct{ V4, V6 *Table }

// Table returns the part of one family.
func (r *Ruleset) Table(f Family) *Table {
	if f == V6 {
		return r.V6
	}
	return r.V4
}

// Table is our chains in the filter table of one family, and our sets of that family. If it has ChainForward and
// ChainOutput, the first rules of FORWARD and OUTPUT lead there. Maps are never nil.
type Table struct {
	Family Family
	Chains map[string]*Chain
	Sets   map[string]*Set
}

// NewTable returns an empty Table: nothing is ours, and no packet is judged.
func NewTable(f Family) *Table {
	return &Table{Family: f, Chains: map[string]*Chain{}, Sets: map[string]*Set{}}
}

// Chain is a chain of ours. A packet that reaches its end continues after the last jump.
type Chain struct {
	Name  string
	Rules []Rule
}

// PortRange is the ports First to Last, both included.
type PortRange struct{ First, Last uint16 }

// Rule applies its target to the packets that match all of its conditions. A condition of value zero matches every packet.
type Rule struct {
	// Src and Dst are the prefixes of the packet's addresses.
	Src, Dst netip.Prefix
	// Bridge matches packets that are switched between two ports of this bridge.
	Bridge string
	// Protocol is the transport protocol.
	Protocol uint8
	// Ports are alternatives for the destination port, at most MaxPorts slots. They require TCP, UDP or SCTP.
	Ports []PortRange
	// NotSYN matches TCP packets that do not open a connection. It requires TCP.
	NotSYN bool
	// ICMPv6Type matches one type. It requires ICMPv6.
	ICMPv6Type uint8
	// Established matches packets of a known connection and the ICMP errors that belong to one.
	Established bool
	// LocalSource matches packets whose source is an address of this node.
	LocalSource bool
	// NotUnicast matches packets whose link-layer destination is not a single interface.
	NotUnicast bool
	// BroadcastDst matches packets to a broadcast address: the limited one, or that of a network in which this node has an
	// interface.
	BroadcastDst bool
	// Sets must all contain the packet.
	Sets []SetMatch
	// Comment is for people; see the function Comment.
	Comment string
	Target  Target
}

// MaxPorts is how many ports one rule can list. A range counts twice.
const MaxPorts = 15

// SetMatch looks a packet up in a set.
type SetMatch struct {
	Set string
	End End
}

// End is the part of a packet that is looked up.
type End uint8

const (
	// Src is the source address.
	Src End = iota
	// Dst is the destination address.
	Dst
	// DstPort is the destination address, the protocol and the destination port.
	DstPort
)

// TargetKind is what a rule does to a packet.
type TargetKind uint8

const (
	// Drop drops the packet. It is the zero value, so that a target that is not set allows nothing.
	Drop TargetKind = iota
	// Return continues after the last jump, past all chains that were entered by a goto.
	Return
	// Jump continues in a chain and comes back.
	Jump
	// Goto continues in a chain and does not come back to this one.
	Goto
)

// Target is iptables' word for what a rule leads to. Chain is set for Jump and Goto only.
type Target struct {
	Kind  TargetKind
	Chain string
}

// SetType is the type of a set.
type SetType uint8

const (
	// HashIP holds addresses.
	HashIP SetType = iota
	// HashNet holds prefixes, except that of the whole address space.
	HashNet
	// HashIPPort holds addresses with protocol and port.
	HashIPPort
)

// Set is a set of one family. Name and Type of an installed set never change.
type Set struct {
	Name    string
	Type    SetType
	Members map[Member]struct{}
}

// Member is a member of a set. The set's type decides which fields count; the others are zero.
type Member struct {
	// Prefix is an address, as a prefix of full length, unless the set is a HashNet.
	Prefix   netip.Prefix
	Protocol uint8
	Port     uint16
}

// Host returns the prefix that contains one address.
func Host(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }
