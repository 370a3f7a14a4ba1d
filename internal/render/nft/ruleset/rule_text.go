package ruleset

import (
	"fmt"
	"strconv"
	"strings"
)

// String gives the hook's name in the language of the nft tool.
func (h HookPoint) String() string {
	switch h {
	case Forward:
		return "forward"
	case Output:
		return "output"
	}
	return "foreign"
}

// String gives the family as the first word of an nft expression: ip or ip6.
func (f Family) String() string {
	if f == V4 {
		return "ip"
	}
	return "ip6"
}

func (e End) field() string {
	if e == Src {
		return "saddr"
	}
	return "daddr"
}

// String gives the verdict in the language of the nft tool.
func (v Verdict) String() string {
	switch v.Kind {
	case Continue:
		return "continue"
	case Accept:
		return "accept"
	case Drop:
		return "drop"
	case Return:
		return "return"
	case Jump:
		return "jump " + v.Chain
	case Goto:
		return "goto " + v.Chain
	}
	return fmt.Sprintf("verdict(%d)", v.Kind)
}

// String gives the rule in the language of the nft tool, without table and chain. A rule that holds a foreign
// part comes as a remark, which the tool skips.
func (r Rule) String() string {
	parts := make([]string, 0, len(r.Matches)+2)
	foreign, lookup := false, false
	for _, m := range r.Matches {
		switch m.(type) {
		case Foreign:
			foreign = true
		case AddrVerdict, PortVerdict:
			lookup = true
		}
		parts = append(parts, matchText(m))
	}
	if !lookup || r.Verdict.Kind != Continue {
		parts = append(parts, r.Verdict.String())
	}
	if r.Comment != "" {
		parts = append(parts, "comment \""+r.Comment+"\"")
	}
	if foreign {
		parts = append([]string{"#"}, parts...)
	}
	return strings.Join(parts, " ")
}

// notSYNText names the flags that tell the first packet of a TCP connection from all others.
const notSYNText = "tcp flags & (fin | syn | rst | ack) != syn"

func matchText(m Match) string {
	switch m := m.(type) {
	case CtEstablished:
		return "ct state established,related"
	case IsFamily:
		return fmt.Sprintf("meta nfproto ipv%d", m.Family)
	case IsProtocol:
		return "meta l4proto " + protocolText(m.Protocol)
	case InPrefix:
		return fmt.Sprintf("%s %s %s", FamilyOf(m.Prefix.Addr()), m.End.field(), prefixText(m.Prefix))
	case InSet:
		return fmt.Sprintf("%s %s @%s", m.Family, m.End.field(), m.Set)
	case DstPort:
		return fmt.Sprintf("%s dport %s", protocolText(m.Protocol), rangeText(uint64(m.First), uint64(m.Last)))
	case DstAddrPortInSet:
		return fmt.Sprintf("%s daddr . %s dport @%s", m.Family, protocolText(m.Protocol), m.Set)
	case AddrPairInSet:
		return fmt.Sprintf("%s saddr . %s daddr @%s", m.Family, m.Family, m.Set)
	case LocalSource:
		return "fib saddr type local"
	case OnBridge:
		return fmt.Sprintf("iifname %[1]q oifname %[1]q", m.Name)
	case NotUnicast:
		return "meta pkttype != host"
	case BroadcastDst:
		return "fib daddr type broadcast"
	case ICMPv6Types:
		return "icmpv6 type " + rangeText(uint64(m.First), uint64(m.Last))
	case NotSYN:
		return notSYNText
	case AddrVerdict:
		return fmt.Sprintf("%s %s vmap @%s", m.Family, m.End.field(), m.Map)
	case PortVerdict:
		return "meta l4proto . th dport vmap @" + m.Map
	case Foreign:
		return "foreign: " + Comment(m.Note)
	}
	return fmt.Sprintf("unknown match %T", m)
}

func rangeText(first, last uint64) string {
	if first == last {
		return strconv.FormatUint(first, 10)
	}
	return fmt.Sprintf("%d-%d", first, last)
}

// IP protocol numbers that rules name.
const (
	protoICMP   = 1
	protoTCP    = 6
	protoUDP    = 17
	protoICMPv6 = 58
	protoSCTP   = 132
)

func protocolText(p uint8) string {
	switch p {
	case protoICMP:
		return "icmp"
	case protoTCP:
		return "tcp"
	case protoUDP:
		return "udp"
	case protoICMPv6:
		return "ipv6-icmp"
	case protoSCTP:
		return "sctp"
	}
	return strconv.Itoa(int(p))
}
