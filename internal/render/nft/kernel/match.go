package kernel

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/ruleset"
)

// Registers. A concatenation occupies consecutive 32-bit registers from reg1 on. The kernel reports a register that
// begins a 128-bit register by the number of the latter.
const (
	reg1 = unix.NFT_REG_1
	// regAfter4 follows an IPv4 address or a protocol number in reg1.
	regAfter4 = unix.NFT_REG32_01
	// regAfter16 follows an IPv6 address in reg1.
	regAfter16 = unix.NFT_REG_2
)

// Offsets of fields in their headers, and their lengths.
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

// encoder turns the matches of one rule into a program. It remembers which family and which protocol a packet must have
// to have come this far, so that no match checks them again: every new connection pays for every expression.
type encoder struct {
	prog []instr

	family        ruleset.Family // zero if it is not known
	protocol      uint8
	protocolKnown bool

	// explicit is set if the last match was IsFamily or IsProtocol. If the next match includes the same check, it checks
	// again: otherwise a rule with the explicit match and a rule without it would be the same program, and reading back
	// could not tell them apart. No layout needs such a rule.
	explicit bool
}

func (enc *encoder) emit(op opcode, name string, n ...uint32) *instr {
	enc.prog = append(enc.prog, instr{op: op, name: name})
	i := &enc.prog[len(enc.prog)-1]
	copy(i.n[:], n)
	return i
}

func (enc *encoder) emitCmp(op uint32, v value) {
	enc.emit(opCmp, "", reg1, op).data[0] = v
}

func (enc *encoder) checkFamily(f ruleset.Family) {
	enc.emit(opMeta, "", reg1, unix.NFT_META_NFPROTO)
	enc.emitCmp(unix.NFT_CMP_EQ, valueOf(nfproto(f)))
	enc.family = f
}

func (enc *encoder) checkProtocol(p uint8) {
	enc.emit(opMeta, "", reg1, unix.NFT_META_L4PROTO)
	enc.emitCmp(unix.NFT_CMP_EQ, valueOf(p))
	enc.protocol, enc.protocolKnown = p, true
}

func (enc *encoder) needFamily(f ruleset.Family) {
	if enc.family != f || enc.explicit {
		enc.checkFamily(f)
	}
}

func (enc *encoder) needProtocol(p uint8) {
	if !enc.protocolKnown || enc.protocol != p || enc.explicit {
		enc.checkProtocol(p)
	}
}

// loadAddr loads an address, or its first n bytes, into a register.
func (enc *encoder) loadAddr(reg uint32, f ruleset.Family, e ruleset.End, n uint32) {
	enc.emit(opPayload, "", reg, unix.NFT_PAYLOAD_NETWORK_HEADER, addrOffset(f, e), n)
}

func (enc *encoder) loadTransport(reg, off, n uint32) {
	enc.emit(opPayload, "", reg, unix.NFT_PAYLOAD_TRANSPORT_HEADER, off, n)
}

// within compares reg1 with the bounds.
func (enc *encoder) within(first, last value) {
	if first == last {
		enc.emitCmp(unix.NFT_CMP_EQ, first)
		return
	}
	i := enc.emit(opRange, "", reg1, unix.NFT_RANGE_EQ)
	i.data[0], i.data[1] = first, last
}

// match appends the instructions of m, or returns an error if m is not valid.
func (enc *encoder) match(m ruleset.Match) error {
	err := enc.matchBody(m)
	switch m.(type) {
	case ruleset.IsFamily, ruleset.IsProtocol:
		enc.explicit = true
	default:
		enc.explicit = false
	}
	return err
}

func (enc *encoder) matchBody(m ruleset.Match) error {
	switch m := m.(type) {
	case ruleset.CtEstablished:
		enc.emit(opCt, "", reg1, unix.NFT_CT_STATE)
		enc.masked(hostU32(ctEstablishedRelated), unix.NFT_CMP_NEQ, hostU32(0))
		return nil
	case ruleset.IsFamily:
		if !m.Family.Valid() {
			return fmt.Errorf("family %d", m.Family)
		}
		enc.checkFamily(m.Family)
		return nil
	case ruleset.IsProtocol:
		enc.checkProtocol(m.Protocol)
		return nil
	case ruleset.LocalSource:
		enc.addrType(unix.NFTA_FIB_F_SADDR, unix.RTN_LOCAL)
		return nil
	case ruleset.BroadcastDst:
		enc.addrType(unix.NFTA_FIB_F_DADDR, unix.RTN_BROADCAST)
		return nil
	case ruleset.OnBridge:
		return enc.onBridge(m)
	case ruleset.NotUnicast:
		enc.emit(opMeta, "", reg1, unix.NFT_META_PKTTYPE)
		enc.emitCmp(unix.NFT_CMP_NEQ, valueOf(unix.PACKET_HOST))
		return nil
	case ruleset.InPrefix:
		return enc.prefix(m)
	case ruleset.InSet:
		return enc.lookupAddr(opLookup, m.Family, m.End, m.Set)
	case ruleset.AddrVerdict:
		return enc.lookupAddr(opVmap, m.Family, m.End, m.Map)
	case ruleset.AddrPairInSet:
		return enc.lookupPair(m)
	case ruleset.DstAddrPortInSet:
		return enc.lookupAddrPort(m)
	case ruleset.DstPort:
		return enc.dstPort(m)
	case ruleset.ICMPv6Types:
		return enc.icmpv6(m)
	case ruleset.NotSYN:
		enc.needProtocol(unix.IPPROTO_TCP)
		enc.loadTransport(reg1, offTCPFlags, 1)
		enc.masked(valueOf(tcpFlagsOpener), unix.NFT_CMP_NEQ, valueOf(tcpFlagSYN))
		return nil
	}
	return fmt.Errorf("match of type %T cannot be written", m)
}

// addrType checks how this node's routes class an end of the packet.
func (enc *encoder) addrType(end, class uint32) {
	enc.emit(opFib, "", reg1, unix.NFT_FIB_RESULT_ADDRTYPE, end)
	enc.emitCmp(unix.NFT_CMP_EQ, hostU32(class))
}

// onBridge checks both interfaces: br_netfilter shows the bridge instead of its ports.
func (enc *encoder) onBridge(m ruleset.OnBridge) error {
	v := value{len: unix.IFNAMSIZ}
	if m.Name == "" || len(m.Name) >= unix.IFNAMSIZ || strings.ContainsRune(m.Name, 0) {
		return fmt.Errorf("interface %q", m.Name)
	}
	copy(v.b[:], m.Name)
	for _, key := range []uint32{unix.NFT_META_IIFNAME, unix.NFT_META_OIFNAME} {
		enc.emit(opMeta, "", reg1, key)
		enc.emitCmp(unix.NFT_CMP_EQ, v)
	}
	return nil
}

// masked compares the bits of reg1 that mask has.
func (enc *encoder) masked(mask value, op uint32, v value) {
	i := enc.emit(opBitwise, "", reg1, reg1, uint32(mask.len))
	i.data[0], i.data[1] = mask, value{len: mask.len}
	enc.emitCmp(op, v)
}

// prefix loads only the bytes that the prefix covers. A prefix of length zero needs only the family.
func (enc *encoder) prefix(m ruleset.InPrefix) error {
	addr, n := m.Prefix.Addr(), m.Prefix.Bits()
	if !m.Prefix.IsValid() || m.Prefix.Masked() != m.Prefix || addr.Zone() != "" || m.End > ruleset.Dst {
		return fmt.Errorf("prefix %s of end %d", m.Prefix, m.End)
	}
	family := program.FamilyOf(addr)
	enc.needFamily(family)
	if n == 0 {
		return nil
	}
	size := (n + 7) / 8
	enc.loadAddr(reg1, family, m.End, uint32(size))
	v := valueOf(addr.AsSlice()[:size]...)
	if n%8 == 0 {
		enc.emitCmp(unix.NFT_CMP_EQ, v)
		return nil
	}
	// If a prefix ends within a byte, nft writes it with a mask for the whole address, and lists it as a prefix only if it
	// has that mask.
	enc.prog[len(enc.prog)-1].n[3] = uint32(addr.BitLen() / 8)
	enc.masked(maskOf(n, addr.BitLen()), unix.NFT_CMP_EQ, valueOf(addr.AsSlice()...))
	return nil
}

// maskOf returns a value of size bits of which the first n are set.
func maskOf(n, size int) value {
	v := value{len: uint8(size / 8)}
	for k := range v.b[:v.len] {
		v.b[k] = byte(uint(0xff00) >> min(max(n-8*k, 0), 8))
	}
	return v
}

func (enc *encoder) lookupAddr(op opcode, f ruleset.Family, e ruleset.End, set string) error {
	if !f.Valid() || e > ruleset.Dst {
		return fmt.Errorf("family %d, end %d", f, e)
	}
	enc.needFamily(f)
	enc.loadAddr(reg1, f, e, addrLen(f))
	// The register for a verdict map's result is number zero, and so is the unused field of a plain lookup.
	enc.emit(op, set, reg1, unix.NFT_REG_VERDICT)
	return nil
}

func (enc *encoder) lookupPair(m ruleset.AddrPairInSet) error {
	if !m.Family.Valid() {
		return fmt.Errorf("family %d", m.Family)
	}
	enc.needFamily(m.Family)
	enc.loadAddr(reg1, m.Family, ruleset.Src, addrLen(m.Family))
	enc.loadAddr(regAfterAddr(m.Family), m.Family, ruleset.Dst, addrLen(m.Family))
	enc.emit(opLookup, m.Set, reg1)
	return nil
}

func (enc *encoder) lookupAddrPort(m ruleset.DstAddrPortInSet) error {
	if !m.Family.Valid() || !ruleset.HasPorts(m.Protocol) {
		return fmt.Errorf("family %d, protocol %d", m.Family, m.Protocol)
	}
	enc.needFamily(m.Family)
	enc.needProtocol(m.Protocol)
	enc.loadAddr(reg1, m.Family, ruleset.Dst, addrLen(m.Family))
	enc.loadTransport(regAfterAddr(m.Family), offDstPort, lenPort)
	enc.emit(opLookup, m.Set, reg1)
	return nil
}

func (enc *encoder) dstPort(m ruleset.DstPort) error {
	if !ruleset.HasPorts(m.Protocol) || m.First > m.Last {
		return fmt.Errorf("protocol %d, ports %d-%d", m.Protocol, m.First, m.Last)
	}
	enc.needProtocol(m.Protocol)
	enc.loadTransport(reg1, offDstPort, lenPort)
	enc.within(portValue(m.First), portValue(m.Last))
	return nil
}

func (enc *encoder) icmpv6(m ruleset.ICMPv6Types) error {
	if m.First > m.Last {
		return fmt.Errorf("ICMPv6 types %d-%d", m.First, m.Last)
	}
	enc.needFamily(ruleset.V6)
	enc.needProtocol(unix.IPPROTO_ICMPV6)
	enc.loadTransport(reg1, offICMPType, 1)
	enc.within(valueOf(m.First), valueOf(m.Last))
	return nil
}

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
