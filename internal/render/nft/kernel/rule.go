package kernel

import (
	"errors"
	"fmt"
	"math/bits"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/netpol-agent/netpol-agent/internal/render/nft/ruleset"
)

// maxMatches is more than any sensible rule has. The kernel accepts 128 expressions.
const maxMatches = 40

// encodeRule returns the program of a rule and its user data. The program reuses prog's memory.
func encodeRule(r *ruleset.Rule, prog []instr) ([]instr, []byte, error) {
	if err := checkComment(r.Comment); err != nil {
		return nil, nil, err
	}
	if len(r.Matches) > maxMatches {
		return nil, nil, fmt.Errorf("%d matches are more than %d", len(r.Matches), maxMatches)
	}
	enc := encoder{prog: prog[:0]}
	var notes anyAddrs
	for k, m := range r.Matches {
		if err := enc.match(m); err != nil {
			return nil, nil, fmt.Errorf("match %d: %w", k, err)
		}
		if p, ok := m.(ruleset.InPrefix); ok && p.Prefix.Bits() == 0 {
			notes = notes.with(k, p)
		}
		if ruleset.FactsOf(m).Verdicts && (k != len(r.Matches)-1 || r.Verdict.Kind != ruleset.Continue) {
			return nil, nil, fmt.Errorf("match %d: a verdict map ends its rule", k)
		}
	}
	if r.Verdict.Kind != ruleset.Continue {
		code, err := verdictCode(r.Verdict)
		if err != nil {
			return nil, nil, err
		}
		enc.emit(opVerdict, r.Verdict.Chain, code)
	}
	data := appendUdataComment(nil, udataComment, r.Comment)
	if notes != nil {
		data = appendUdata(data, udataAnyAddr, notes...)
	}
	return enc.prog, data, nil
}

// verdictCode returns the kernel's number of a verdict.
func verdictCode(v ruleset.Verdict) (uint32, error) {
	jumps := v.Kind == ruleset.Jump || v.Kind == ruleset.Goto
	if jumps != (v.Chain != "") {
		return 0, fmt.Errorf("verdict %d with chain %q", v.Kind, v.Chain)
	}
	var code int32
	switch v.Kind {
	case ruleset.Continue:
		code = unix.NFT_CONTINUE
	case ruleset.Accept:
		code = netfilterAccept
	case ruleset.Drop:
		code = netfilterDrop
	case ruleset.Return:
		code = unix.NFT_RETURN
	case ruleset.Jump:
		code = unix.NFT_JUMP
	case ruleset.Goto:
		code = unix.NFT_GOTO
	default:
		return 0, fmt.Errorf("verdict %d", v.Kind)
	}
	return uint32(code), nil
}

// NF_DROP and NF_ACCEPT of the kernel.
const (
	netfilterDrop   = 0
	netfilterAccept = 1
)

// verdictOf is the inverse of verdictCode.
func verdictOf(code uint32, chain string) (ruleset.Verdict, bool) {
	for kind := ruleset.Continue; kind <= ruleset.Goto; kind++ {
		v := ruleset.Verdict{Kind: kind, Chain: chain}
		if c, err := verdictCode(v); err == nil && c == code {
			return v, true
		}
	}
	return ruleset.Verdict{}, false
}

var errNotOurs = errors.New("matches that this program does not write")

// decodeRule is the inverse of encodeRule. It returns a rule only if encoding it again yields the same program.
func decodeRule(prog []instr, data []byte) (ruleset.Rule, error) {
	r := ruleset.Rule{Comment: cString(udata(data, udataComment))}
	if n := len(prog); n > 0 && prog[n-1].op == opVerdict {
		v, ok := verdictOf(prog[n-1].n[0], prog[n-1].name)
		if !ok || v.Kind == ruleset.Continue {
			return r, errors.New("verdict that this program does not write")
		}
		r.Verdict, prog = v, prog[:n-1]
	}
	d := decoder{rest: prog, notes: udata(data, udataAnyAddr)}
	for {
		m, done, err := d.next(len(r.Matches))
		if err != nil {
			return r, err
		}
		if done {
			return r, nil
		}
		r.Matches = append(r.Matches, m)
	}
}

// decoder guesses each match from the instructions that are typical of it, and accepts a guess only if encoding it yields
// exactly the instructions that come next. Its encoder knows what earlier matches have checked.
type decoder struct {
	rest  []instr
	notes anyAddrs
	enc   encoder
}

// next returns the match that the rest of the program begins with.
func (d *decoder) next(index int) (m ruleset.Match, done bool, err error) {
	if p, ok := d.notes.at(index); ok {
		if d.take(p) {
			return p, false, nil
		}
		return nil, false, errNotOurs
	}
	if len(d.rest) == 0 {
		return nil, true, nil
	}
	for _, m := range []ruleset.Match{d.guess(), d.guessCheck()} {
		before := len(d.rest)
		// A guess that explains no instruction would be repeated forever.
		if m != nil && d.take(m) && len(d.rest) < before {
			return m, false, nil
		}
	}
	return nil, false, errNotOurs
}

// take removes the instructions of m from the program if it begins with them.
func (d *decoder) take(m ruleset.Match) bool {
	enc := d.enc
	enc.prog = d.enc.prog[:0]
	if enc.match(m) != nil || len(enc.prog) > len(d.rest) {
		return false
	}
	if !slices.Equal(enc.prog, d.rest[:len(enc.prog)]) {
		return false
	}
	d.rest = d.rest[len(enc.prog):]
	d.enc = enc
	return true
}

// guessCheck guesses a match that is nothing but a check of family or protocol.
func (d *decoder) guessCheck() ruleset.Match {
	if f, ok := familyCheck(d.rest); ok {
		return ruleset.IsFamily{Family: f}
	}
	if p, ok := protocolCheck(d.rest); ok {
		return ruleset.IsProtocol{Protocol: p}
	}
	return nil
}

func familyCheck(prog []instr) (ruleset.Family, bool) {
	if len(prog) < 2 || prog[0].op != opMeta || prog[0].n[1] != unix.NFT_META_NFPROTO || prog[1].op != opCmp {
		return 0, false
	}
	if prog[1].data[0] == valueOf(unix.NFPROTO_IPV4) {
		return ruleset.V4, true
	}
	return ruleset.V6, prog[1].data[0] == valueOf(unix.NFPROTO_IPV6)
}

func protocolCheck(prog []instr) (uint8, bool) {
	if len(prog) < 2 || prog[0].op != opMeta || prog[0].n[1] != unix.NFT_META_L4PROTO || prog[1].op != opCmp {
		return 0, false
	}
	return prog[1].data[0].b[0], true
}

// guess guesses any other match, and returns nil if it recognizes none. The checks that the match includes may come first.
func (d *decoder) guess() ruleset.Match {
	prog, protocol := d.rest, d.enc.protocol
	if _, ok := familyCheck(prog); ok {
		prog = prog[2:]
	}
	if p, ok := protocolCheck(prog); ok {
		prog, protocol = prog[2:], p
	}
	if len(prog) == 0 {
		return nil
	}
	switch prog[0].op {
	case opCt:
		return ruleset.CtEstablished{}
	case opFib:
		if prog[0].n[2] == unix.NFTA_FIB_F_DADDR {
			return ruleset.BroadcastDst{}
		}
		return ruleset.LocalSource{}
	case opMeta:
		switch prog[0].n[1] {
		case unix.NFT_META_PKTTYPE:
			return ruleset.NotUnicast{}
		case unix.NFT_META_IIFNAME:
			if len(prog) > 1 {
				return ruleset.OnBridge{Name: cString(prog[1].data[0].b[:])}
			}
		}
	case opPayload:
		if prog[0].n[1] == unix.NFT_PAYLOAD_TRANSPORT_HEADER {
			return guessTransport(prog, protocol)
		}
		return guessNetwork(prog, protocol)
	}
	return nil
}

func guessTransport(prog []instr, protocol uint8) ruleset.Match {
	if len(prog) < 2 {
		return nil
	}
	first, last := prog[1].data[0], prog[1].data[1]
	if prog[1].op == opCmp {
		last = first
	}
	switch prog[0].n[2] {
	case offTCPFlags:
		return ruleset.NotSYN{}
	case offDstPort:
		return ruleset.DstPort{Protocol: protocol, First: portOf(first), Last: portOf(last)}
	case offICMPType:
		return ruleset.ICMPv6Types{First: first.b[0], Last: last.b[0]}
	}
	return nil
}

func portOf(v value) uint16 { return uint16(v.b[0])<<8 | uint16(v.b[1]) }

func guessNetwork(prog []instr, protocol uint8) ruleset.Match {
	family, end, ok := familyOfOffset(prog[0].n[2])
	if !ok || len(prog) < 2 {
		return nil
	}
	switch next := &prog[1]; next.op {
	case opLookup:
		return ruleset.InSet{End: end, Family: family, Set: next.name}
	case opVmap:
		return ruleset.AddrVerdict{End: end, Family: family, Map: next.name}
	case opCmp:
		return guessPrefix(end, family, next.data[0], int(next.data[0].len)*8)
	case opBitwise:
		if len(prog) > 2 {
			return guessPrefix(end, family, prog[2].data[0], maskBits(next.data[0]))
		}
	case opPayload:
		if len(prog) < 3 {
			return nil
		}
		if next.n[1] == unix.NFT_PAYLOAD_TRANSPORT_HEADER {
			return ruleset.DstAddrPortInSet{Family: family, Protocol: protocol, Set: prog[2].name}
		}
		return ruleset.AddrPairInSet{Family: family, Set: prog[2].name}
	}
	return nil
}

func guessPrefix(e ruleset.End, f ruleset.Family, v value, n int) ruleset.Match {
	p := prefixOf(f, v, n)
	if !p.IsValid() {
		return nil
	}
	return ruleset.InPrefix{End: e, Prefix: p}
}

// maskBits counts the bits of a prefix's mask.
func maskBits(v value) int {
	n := 0
	for _, b := range v.b[:v.len] {
		n += bits.OnesCount8(b)
	}
	return n
}

// prefixOf returns the prefix of family f whose first bytes are v and which is n bits long.
func prefixOf(f ruleset.Family, v value, n int) netip.Prefix {
	if f == ruleset.V4 {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte(v.b[:4])), n)
	}
	return netip.PrefixFrom(netip.AddrFrom16(v.b), n)
}

// familyOfOffset is the inverse of addrOffset. All four offsets differ.
func familyOfOffset(off uint32) (ruleset.Family, ruleset.End, bool) {
	switch off {
	case offSaddr4:
		return ruleset.V4, ruleset.Src, true
	case offDaddr4:
		return ruleset.V4, ruleset.Dst, true
	case offSaddr6:
		return ruleset.V6, ruleset.Src, true
	case offDaddr6:
		return ruleset.V6, ruleset.Dst, true
	}
	return 0, 0, false
}
