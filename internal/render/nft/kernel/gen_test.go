package kernel

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/netpol-agent/netpol-agent/internal/render/nft/ruleset"
)

// Generators of random values. Addresses are drawn from few ranges, so that the edges of a family occur often.

func drawFamily(t *rapid.T) ruleset.Family {
	return rapid.SampledFrom([]ruleset.Family{ruleset.V4, ruleset.V6}).Draw(t, "family")
}

func drawEnd(t *rapid.T) ruleset.End {
	return rapid.SampledFrom([]ruleset.End{ruleset.Src, ruleset.Dst}).Draw(t, "end")
}

func drawPortProtocol(t *rapid.T) uint8 {
	return rapid.SampledFrom([]uint8{unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_SCTP}).Draw(t, "protocol")
}

func drawAddr(t *rapid.T, v4 bool) netip.Addr {
	n := 16
	if v4 {
		n = 4
	}
	b := make([]byte, n)
	switch rapid.IntRange(0, 3).Draw(t, "kind of address") {
	case 0: // near the lowest
	case 1: // near the highest
		for k := range b {
			b[k] = 0xff
		}
	case 2:
		b[0] = 0xfd
	default:
		copy(b, rapid.SliceOfN(rapid.Byte(), n, n).Draw(t, "address"))
	}
	b[n-1] ^= byte(rapid.IntRange(0, 15).Draw(t, "low bits"))
	a, _ := netip.AddrFromSlice(b)
	return a
}

func drawComment(t *rapid.T) string {
	s := rapid.StringMatching(`[a-zA-Z0-9 ./é"-]{0,40}`).Draw(t, "comment")
	if rapid.IntRange(0, 9).Draw(t, "long comment") == 0 {
		s += fmt.Sprintf("%080d", 0)
	}
	return ruleset.Comment(s)
}

func drawPrefix(t *rapid.T) netip.Prefix {
	a := drawAddr(t, drawFamily(t) == ruleset.V4)
	n := rapid.IntRange(0, a.BitLen()).Draw(t, "prefix length")
	if rapid.Bool().Draw(t, "whole bytes") {
		n -= n % 8
	}
	return netip.PrefixFrom(a, n).Masked()
}

// drawMatch draws a match that needs no set. Its body is a type switch in reverse, with one type a case.
func drawMatch(t *rapid.T) ruleset.Match {
	switch rapid.IntRange(0, 10).Draw(t, "match") {
	case 0:
		return ruleset.CtEstablished{}
	case 1:
		return ruleset.IsFamily{Family: drawFamily(t)}
	case 2:
		return ruleset.IsProtocol{Protocol: rapid.SampledFrom([]uint8{0, 1, 6, 17, 47, 58, 132, 255}).Draw(t, "protocol")}
	case 3:
		return ruleset.InPrefix{End: drawEnd(t), Prefix: drawPrefix(t)}
	case 4:
		p, q := rapid.Uint16().Draw(t, "port"), rapid.Uint16().Draw(t, "port")
		if rapid.Bool().Draw(t, "one port") {
			q = p
		}
		return ruleset.DstPort{Protocol: drawPortProtocol(t), First: min(p, q), Last: max(p, q)}
	case 5:
		return ruleset.LocalSource{}
	case 6:
		p, q := rapid.Byte().Draw(t, "type"), rapid.Byte().Draw(t, "type")
		return ruleset.ICMPv6Types{First: min(p, q), Last: max(p, q)}
	case 7:
		return ruleset.OnBridge{Name: rapid.StringMatching(`[a-z0-9.-]{1,15}`).Draw(t, "interface")}
	case 8:
		return ruleset.NotUnicast{}
	case 9:
		return ruleset.BroadcastDst{}
	}
	return ruleset.NotSYN{}
}

// drawSetMatch draws a match that looks up s. A verdict map must end its rule.
func drawSetMatch(t *rapid.T, s *ruleset.Set) ruleset.Match {
	family := ruleset.V4
	switch s.Type {
	case ruleset.Addr6, ruleset.Addr6Port, ruleset.Addr6Pair:
		family = ruleset.V6
	}
	switch s.Type {
	case ruleset.Addr4, ruleset.Addr6:
		if s.Verdicts {
			return ruleset.AddrVerdict{End: drawEnd(t), Family: family, Map: s.Name}
		}
		return ruleset.InSet{End: drawEnd(t), Family: family, Set: s.Name}
	case ruleset.Addr4Port, ruleset.Addr6Port:
		return ruleset.DstAddrPortInSet{Family: family, Protocol: drawPortProtocol(t), Set: s.Name}
	case ruleset.Addr4Pair, ruleset.Addr6Pair:
		return ruleset.AddrPairInSet{Family: family, Set: s.Name}
	}
	return nil
}

func drawElem(t *rapid.T, typ ruleset.SetType) ruleset.Elem {
	port := func() uint16 { return rapid.Uint16().Draw(t, "port") }
	switch typ {
	case ruleset.Addr4, ruleset.Addr6:
		return ruleset.Elem{A: drawAddr(t, typ == ruleset.Addr4)}
	case ruleset.Addr4Port, ruleset.Addr6Port:
		return ruleset.Elem{A: drawAddr(t, typ == ruleset.Addr4Port), Port: port()}
	case ruleset.Addr4Pair, ruleset.Addr6Pair:
		v4 := typ == ruleset.Addr4Pair
		return ruleset.Elem{A: drawAddr(t, v4), B: drawAddr(t, v4)}
	}
	return ruleset.Elem{}
}

// drawIntervals draws intervals that neither overlap nor touch.
func drawIntervals(t *rapid.T, v4 bool) []ruleset.Elem {
	n := rapid.IntRange(0, 12).Draw(t, "bounds")
	bounds := make([]netip.Addr, 2*n)
	for k := range bounds {
		bounds[k] = drawAddr(t, v4)
	}
	slices.SortFunc(bounds, netip.Addr.Compare)
	var elems []ruleset.Elem
	for k := 0; k < len(bounds); k += 2 {
		e := ruleset.Elem{A: bounds[k], B: bounds[k+1]}
		if n := len(elems); n > 0 && (elems[n-1].B == e.A || elems[n-1].B.Next() == e.A) {
			elems[n-1].B = e.B
			continue
		}
		elems = append(elems, e)
	}
	return elems
}

// drawSet draws a set; targets are the chains that a verdict map may lead to.
func drawSet(t *rapid.T, name string, targets []string) *ruleset.Set {
	s := &ruleset.Set{Name: name, Comment: drawComment(t), Elems: map[ruleset.Elem]ruleset.Verdict{}}
	switch rapid.IntRange(0, 2).Draw(t, "kind of set") {
	case 0:
		s.Interval = true
		s.Type = rapid.SampledFrom([]ruleset.SetType{ruleset.Addr4, ruleset.Addr6}).Draw(t, "type")
		for _, e := range drawIntervals(t, s.Type == ruleset.Addr4) {
			s.Elems[e] = ruleset.Verdict{}
		}
		return s
	case 1:
		s.Verdicts = true
		s.Type = rapid.SampledFrom([]ruleset.SetType{ruleset.Addr4, ruleset.Addr6}).Draw(t, "type")
	default:
		s.Type = rapid.SampledFrom([]ruleset.SetType{ruleset.Addr4, ruleset.Addr6, ruleset.Addr4Port,
			ruleset.Addr6Port, ruleset.Addr4Pair, ruleset.Addr6Pair}).Draw(t, "type")
	}
	for range rapid.IntRange(0, 10).Draw(t, "elements") {
		e, v := drawElem(t, s.Type), ruleset.Verdict{}
		if s.Verdicts {
			v = drawVerdict(t, targets)
		}
		s.Elems[e] = v
	}
	return s
}

// drawVerdict draws any verdict, jumps only to targets.
func drawVerdict(t *rapid.T, targets []string) ruleset.Verdict {
	last := ruleset.Goto
	if len(targets) == 0 {
		last = ruleset.Return
	}
	v := ruleset.Verdict{Kind: ruleset.VerdictKind(rapid.IntRange(0, int(last)).Draw(t, "verdict"))}
	if v.Kind == ruleset.Jump || v.Kind == ruleset.Goto {
		v.Chain = rapid.SampledFrom(targets).Draw(t, "target")
	}
	return v
}

func drawRule(t *rapid.T, sets []*ruleset.Set, targets []string) ruleset.Rule {
	r := ruleset.Rule{Comment: drawComment(t)}
	for range rapid.IntRange(0, 4).Draw(t, "matches") {
		if len(sets) == 0 || rapid.Bool().Draw(t, "without set") {
			r.Matches = append(r.Matches, drawMatch(t))
			continue
		}
		s := rapid.SampledFrom(sets).Draw(t, "set")
		r.Matches = append(r.Matches, drawSetMatch(t, s))
		if s.Verdicts {
			return r
		}
	}
	r.Verdict = drawVerdict(t, targets)
	return r
}

// drawRuleset draws a ruleset that the kernel accepts. Chains lead only to those with a higher number, and maps only to
// the last ones, so that there is no loop.
func drawRuleset(t *rapid.T) *ruleset.Ruleset {
	rs := ruleset.New()
	leaves := []string{"leaf/1", "leaf/2"}
	var sets []*ruleset.Set
	for k := range rapid.IntRange(0, 6).Draw(t, "sets") {
		s := drawSet(t, fmt.Sprintf("set/%d", k), leaves)
		rs.Sets[s.Name] = s
		sets = append(sets, s)
	}
	plain := slices.DeleteFunc(slices.Clone(sets), func(s *ruleset.Set) bool { return s.Verdicts })
	for _, name := range leaves {
		rs.Chains[name] = drawChain(t, name, plain, nil)
	}
	targets := slices.Clone(leaves)
	for k := range rapid.IntRange(0, 4).Draw(t, "chains") {
		name := fmt.Sprintf("chain/%d", k)
		rs.Chains[name] = drawChain(t, name, sets, targets)
		targets = append(targets, name)
	}
	for k, p := range []ruleset.HookPoint{ruleset.Forward, ruleset.Output} {
		if rapid.Bool().Draw(t, "base chain") {
			name := fmt.Sprintf("base/%d", k)
			ch := drawChain(t, name, sets, targets)
			ch.Hook = &ruleset.Hook{Point: p, Priority: rapid.Int32Range(-400, 400).Draw(t, "priority")}
			rs.Chains[name] = ch
		}
	}
	return rs
}

func drawChain(t *rapid.T, name string, sets []*ruleset.Set, targets []string) *ruleset.Chain {
	ch := &ruleset.Chain{Name: name, Comment: drawComment(t)}
	for range rapid.IntRange(0, 5).Draw(t, "rules") {
		ch.Rules = append(ch.Rules, drawRule(t, sets, targets))
	}
	return ch
}

func sortedSets(rs *ruleset.Ruleset) []*ruleset.Set {
	return slices.SortedFunc(maps.Values(rs.Sets), func(a, b *ruleset.Set) int { return strings.Compare(a.Name, b.Name) })
}
