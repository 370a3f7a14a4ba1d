package kernel

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/netpol-agent/netpol-agent/internal/render/nft/ruleset"
)

// Registers. A concatenation occupies consecutive 32-bit registers from reg1 on; the kernel reports those that
// begin a 128-bit register by the number of the latter.
const (
	reg1 = unix.NFT_REG_1
	// regAfter4 follows an IPv4 address or a protocol number in reg1.
	regAfter4 = unix.NFT_REG32_01
	// regAfter16 follows an IPv6 address in reg1.
	regAfter16 = unix.NFT_REG_2
)

// Where fields stand in their headers, and how long they are.
const (
	offSaddr4, offDaddr4 = 12, 16
	offSaddr6, offDaddr6 = 8, 24
	offDstPort, lenPort  = 2, 2
	offTCPFlags          = 13
	offICMPType          = 0
)

const (
	ctEstablishedRelated = 1<<1 | 1<<2 // established and related, as bits of the value of ct state

	tcpFlagSYN     = 0x02
	tcpFlagsOpener = 0x01 | tcpFlagSYN | 0x04 | 0x10 // fin, syn, rst, ack
)

// compiler turns the matches of one rule into a program. It remembers which family and which protocol a packet
// must have to have come this far, so that no match checks them again: each expression is paid for by each new
// connection.
type compiler struct {
	prog []instr

	family    ruleset.Family // zero: not known
	protocol  uint8
	protocolK bool // whether protocol is known

	// explicit says that the last match was IsFamily or IsProtocol. What such a match checked is checked again
	// by the next one if that includes the same check: else a rule with and one without it would be the same
	// program, and could not be told apart when read back. No layout needs such a rule.
	explicit bool
}

func (c *compiler) emit(op opcode, name string, n ...uint32) *instr {
	c.prog = append(c.prog, instr{op: op, name: name})
	i := &c.prog[len(c.prog)-1]
	copy(i.n[:], n)
	return i
}

func (c *compiler) emitCmp(op uint32, v value) {
	c.emit(opCmp, "", reg1, op).data[0] = v
}

func (c *compiler) checkFamily(f ruleset.Family) {
	c.emit(opMeta, "", reg1, unix.NFT_META_NFPROTO)
	c.emitCmp(unix.NFT_CMP_EQ, valueOf(nfproto(f)))
	c.family = f
}

func (c *compiler) checkProtocol(p uint8) {
	c.emit(opMeta, "", reg1, unix.NFT_META_L4PROTO)
	c.emitCmp(unix.NFT_CMP_EQ, valueOf(p))
	c.protocol, c.protocolK = p, true
}

func (c *compiler) needFamily(f ruleset.Family) {
	if c.family != f || c.explicit {
		c.checkFamily(f)
	}
}

func (c *compiler) needProtocol(p uint8) {
	if !c.protocolK || c.protocol != p || c.explicit {
		c.checkProtocol(p)
	}
}

// loadAddr loads an address, or its first n bytes, into a register.
func (c *compiler) loadAddr(reg uint32, f ruleset.Family, e ruleset.End, n uint32) {
	c.emit(opPayload, "", reg, unix.NFT_PAYLOAD_NETWORK_HEADER, addrOffset(f, e), n)
}

func (c *compiler) loadTransport(reg, off, n uint32) {
	c.emit(opPayload, "", reg, unix.NFT_PAYLOAD_TRANSPORT_HEADER, off, n)
}

// within compares reg1 with the bounds.
func (c *compiler) within(first, last value) {
	if first == last {
		c.emitCmp(unix.NFT_CMP_EQ, first)
		return
	}
	i := c.emit(opRange, "", reg1, unix.NFT_RANGE_EQ)
	i.data[0], i.data[1] = first, last
}

// match appends the instructions of m. An error says why m is not a valid match.
func (c *compiler) match(m ruleset.Match) error {
	if err := c.matchBody(m); err != nil {
		return err
	}
	switch m.(type) {
	case ruleset.IsFamily, ruleset.IsProtocol:
		c.explicit = true
	default:
		c.explicit = false
	}
	return nil
}

func (c *compiler) matchBody(m ruleset.Match) error {
	switch m := m.(type) {
	case ruleset.CtEstablished:
		c.emit(opCt, "", reg1, unix.NFT_CT_STATE)
		c.masked(hostU32(ctEstablishedRelated), unix.NFT_CMP_NEQ, hostU32(0))
		return nil
	case ruleset.IsFamily:
		if !validFamily(m.Family) {
			return fmt.Errorf("family %d", m.Family)
		}
		c.checkFamily(m.Family)
		return nil
	case ruleset.IsProtocol:
		c.checkProtocol(m.Protocol)
		return nil
	case ruleset.LocalSource:
		c.addrType(unix.NFTA_FIB_F_SADDR, unix.RTN_LOCAL)
		return nil
	case ruleset.BroadcastDst:
		c.addrType(unix.NFTA_FIB_F_DADDR, unix.RTN_BROADCAST)
		return nil
	case ruleset.OnBridge:
		return c.onBridge(m)
	case ruleset.NotUnicast:
		c.emit(opMeta, "", reg1, unix.NFT_META_PKTTYPE)
		c.emitCmp(unix.NFT_CMP_NEQ, valueOf(unix.PACKET_HOST))
		return nil
	case ruleset.InPrefix:
		return c.prefix(m)
	case ruleset.InSet:
		return c.lookupAddr(opLookup, m.Family, m.End, m.Set)
	case ruleset.AddrVerdict:
		return c.lookupAddr(opVmap, m.Family, m.End, m.Map)
	case ruleset.AddrPairInSet:
		return c.lookupPair(m)
	case ruleset.DstAddrPortInSet:
		return c.lookupAddrPort(m)
	case ruleset.DstPort:
		return c.dstPort(m)
	case ruleset.ICMPv6Types:
		return c.icmpv6(m)
	case ruleset.NotSYN:
		c.needProtocol(unix.IPPROTO_TCP)
		c.loadTransport(reg1, offTCPFlags, 1)
		c.masked(valueOf(tcpFlagsOpener), unix.NFT_CMP_NEQ, valueOf(tcpFlagSYN))
		return nil
	case ruleset.PortVerdict:
		c.portVerdict(m)
		return nil
	}
	return fmt.Errorf("match of type %T cannot be written", m)
}

// addrType asks how this node's routes class an end of the packet.
func (c *compiler) addrType(end, class uint32) {
	c.emit(opFib, "", reg1, unix.NFT_FIB_RESULT_ADDRTYPE, end)
	c.emitCmp(unix.NFT_CMP_EQ, hostU32(class))
}

func (c *compiler) portVerdict(m ruleset.PortVerdict) {
	c.emit(opMeta, "", reg1, unix.NFT_META_L4PROTO)
	c.loadTransport(regAfter4, offDstPort, lenPort)
	c.emit(opVmap, m.Map, reg1, unix.NFT_REG_VERDICT)
}

// onBridge asks for both interfaces: br_netfilter shows the bridge in the place of its ports.
func (c *compiler) onBridge(m ruleset.OnBridge) error {
	v := value{len: unix.IFNAMSIZ}
	if m.Name == "" || len(m.Name) >= unix.IFNAMSIZ || strings.ContainsRune(m.Name, 0) {
		return fmt.Errorf("interface %q", m.Name)
	}
	copy(v.b[:], m.Name)
	for _, key := range []uint32{unix.NFT_META_IIFNAME, unix.NFT_META_OIFNAME} {
		c.emit(opMeta, "", reg1, key)
		c.emitCmp(unix.NFT_CMP_EQ, v)
	}
	return nil
}

// masked compares the bits of reg1 that mask has.
func (c *compiler) masked(mask value, op uint32, v value) {
	i := c.emit(opBitwise, "", reg1, reg1, uint32(mask.len))
	i.data[0], i.data[1] = mask, value{len: mask.len}
	c.emitCmp(op, v)
}

// prefix loads only the bytes that the prefix is about. A prefix of length zero needs no more than the family.
func (c *compiler) prefix(m ruleset.InPrefix) error {
	addr, n := m.Prefix.Addr(), m.Prefix.Bits()
	if !m.Prefix.IsValid() || m.Prefix.Masked() != m.Prefix || addr.Zone() != "" || m.End > ruleset.Dst {
		return fmt.Errorf("prefix %s of end %d", m.Prefix, m.End)
	}
	family := ruleset.FamilyOf(addr)
	c.needFamily(family)
	if n == 0 {
		return nil
	}
	size := (n + 7) / 8
	c.loadAddr(reg1, family, m.End, uint32(size))
	v := valueOf(addr.AsSlice()[:size]...)
	if n%8 == 0 {
		c.emitCmp(unix.NFT_CMP_EQ, v)
		return nil
	}
	// nft writes a prefix that ends within a byte with a mask for the whole address, and lists it as a prefix only
	// then.
	c.prog[len(c.prog)-1].n[3] = uint32(addr.BitLen() / 8)
	c.masked(maskOf(n, addr.BitLen()), unix.NFT_CMP_EQ, valueOf(addr.AsSlice()...))
	return nil
}

// maskOf is a value of size bits of which the first n are set.
func maskOf(n, size int) value {
	v := value{len: uint8(size / 8)}
	for k := range v.b[:v.len] {
		v.b[k] = byte(uint(0xff00) >> min(max(n-8*k, 0), 8))
	}
	return v
}

func (c *compiler) lookupAddr(op opcode, f ruleset.Family, e ruleset.End, set string) error {
	if !validFamily(f) || e > ruleset.Dst {
		return fmt.Errorf("family %d, end %d", f, e)
	}
	c.needFamily(f)
	c.loadAddr(reg1, f, e, addrLen(f))
	// The register for the result of a verdict map is number zero, as is the unused field of a plain lookup.
	c.emit(op, set, reg1, unix.NFT_REG_VERDICT)
	return nil
}

func (c *compiler) lookupPair(m ruleset.AddrPairInSet) error {
	if !validFamily(m.Family) {
		return fmt.Errorf("family %d", m.Family)
	}
	c.needFamily(m.Family)
	c.loadAddr(reg1, m.Family, ruleset.Src, addrLen(m.Family))
	c.loadAddr(regAfterAddr(m.Family), m.Family, ruleset.Dst, addrLen(m.Family))
	c.emit(opLookup, m.Set, reg1)
	return nil
}

func (c *compiler) lookupAddrPort(m ruleset.DstAddrPortInSet) error {
	if !validFamily(m.Family) || !hasPorts(m.Protocol) {
		return fmt.Errorf("family %d, protocol %d", m.Family, m.Protocol)
	}
	c.needFamily(m.Family)
	c.needProtocol(m.Protocol)
	c.loadAddr(reg1, m.Family, ruleset.Dst, addrLen(m.Family))
	c.loadTransport(regAfterAddr(m.Family), offDstPort, lenPort)
	c.emit(opLookup, m.Set, reg1)
	return nil
}

func (c *compiler) dstPort(m ruleset.DstPort) error {
	if !hasPorts(m.Protocol) || m.First > m.Last {
		return fmt.Errorf("protocol %d, ports %d-%d", m.Protocol, m.First, m.Last)
	}
	c.needProtocol(m.Protocol)
	c.loadTransport(reg1, offDstPort, lenPort)
	c.within(portValue(m.First), portValue(m.Last))
	return nil
}

func (c *compiler) icmpv6(m ruleset.ICMPv6Types) error {
	if m.First > m.Last {
		return fmt.Errorf("ICMPv6 types %d-%d", m.First, m.Last)
	}
	c.needFamily(ruleset.V6)
	c.needProtocol(unix.IPPROTO_ICMPV6)
	c.loadTransport(reg1, offICMPType, 1)
	c.within(valueOf(m.First), valueOf(m.Last))
	return nil
}

func hasPorts(p uint8) bool {
	return p == unix.IPPROTO_TCP || p == unix.IPPROTO_UDP || p == unix.IPPROTO_SCTP
}

func validFamily(f ruleset.Family) bool { return f == ruleset.V4 || f == ruleset.V6 }

func nfproto(f ruleset.Family) uint8 {
	if f == ruleset.V4 {
		return unix.NFPROTO_IPV4
	}
	return unix.NFPROTO_IPV6
}

func addrLen(f ruleset.Family) uint32 {
	if f == ruleset.V4 {
		return 4
	}
	return 16
}

func regAfterAddr(f ruleset.Family) uint32 {
	if f == ruleset.V4 {
		return regAfter4
	}
	return regAfter16
}

func addrOffset(f ruleset.Family, e ruleset.End) uint32 {
	switch {
	case f == ruleset.V4 && e == ruleset.Src:
		return offSaddr4
	case f == ruleset.V4:
		return offDaddr4
	case e == ruleset.Src:
		return offSaddr6
	}
	return offDaddr6
}
