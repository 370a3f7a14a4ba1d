// Package gen generates nftables rulesets for tests: one that contains everything, and random ones that are consistent.
package gen

import (
	"maps"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/netpol-agent/netpol-agent/internal/render/nft/ruleset"
	"github.com/netpol-agent/netpol-agent/test/nft/trace"
)

// The pools are small, so that random rulesets share names, addresses and ports.
var (
	pool4     = addrs("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.1.1", "192.168.0.1")
	pool6     = addrs("fd00::1", "fd00::2", "fd00:1::1")
	poolPorts = []uint16{53, 80, 443}
	poolProto = []uint8{unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_SCTP}

	poolSets = []ruleset.Set{
		{Name: "a4", Type: ruleset.Addr4}, {Name: "b4", Type: ruleset.Addr4}, {Name: "a6", Type: ruleset.Addr6},
		{Name: "i4", Type: ruleset.Addr4, Interval: true}, {Name: "i6", Type: ruleset.Addr6, Interval: true},
		{Name: "p4", Type: ruleset.Addr4Port}, {Name: "p6", Type: ruleset.Addr6Port},
		{Name: "d4", Type: ruleset.Addr4Pair}, {Name: "d6", Type: ruleset.Addr6Pair},
		{Name: "m4", Type: ruleset.Addr4, Verdicts: true}, {Name: "n4", Type: ruleset.Addr4, Verdicts: true},
		{Name: "m6", Type: ruleset.Addr6, Verdicts: true},
	}
	poolBases  = []string{"forward", "output", "extra"}
	poolChains = []string{"c0", "c1", "c2", "c3", "c4", "c5"}
)

func addrs(texts ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range texts {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

// rulesetGen generates random consistent rulesets.
type rulesetGen struct {
	t       *rapid.T
	foreign bool

	r     *ruleset.Ruleset
	order []string       // regular chains; each leads only to later ones
	level map[string]int // of maps: elements lead to chains from this level on, and only earlier chains name the map
}

// Ruleset draws a ruleset. foreign allows what only somebody else would create: sets and chains of other kinds under
// our names, and foreign rules.
func Ruleset(t *rapid.T, foreign bool) *ruleset.Ruleset {
	g := &rulesetGen{t: t, foreign: foreign, r: ruleset.New(), level: map[string]int{}}
	g.chains()
	g.sets()
	for i, name := range g.order {
		g.r.Chains[name].Rules = g.rules(i)
	}
	for _, name := range slices.Sorted(maps.Keys(g.r.Chains)) {
		if c := g.r.Chains[name]; c.Hook != nil {
			c.Rules = g.rules(-1)
		}
	}
	return g.r
}

func (g *rulesetGen) bool(label string) bool { return rapid.Bool().Draw(g.t, label) }

// rarely is true one time in n.
func (g *rulesetGen) rarely(n int, label string) bool {
	return rapid.IntRange(0, n-1).Draw(g.t, label) == n-1
}

func pick[T any](g *rulesetGen, from []T, label string) T {
	return rapid.SampledFrom(from).Draw(g.t, label)
}

func (g *rulesetGen) chains() {
	for _, name := range rapid.Permutation(poolChains).Draw(g.t, "order") {
		if g.bool("has " + name) {
			g.chain(name, g.foreign && g.rarely(8, name+" is base"))
		}
	}
	for _, name := range poolBases {
		if g.bool("has " + name) {
			g.chain(name, !g.foreign || !g.rarely(8, name+" is no base"))
		}
	}
}

func (g *rulesetGen) chain(name string, base bool) {
	c := &ruleset.Chain{Name: name}
	if base {
		c.Hook = &ruleset.Hook{Point: ruleset.Forward, Priority: 5}
		if name == "output" {
			c.Hook.Point = ruleset.Output
		}
		if g.foreign && g.rarely(8, "priority") {
			c.Hook.Priority = -10
		}
	} else {
		g.order = append(g.order, name)
	}
	g.r.Chains[name] = c
}

func (g *rulesetGen) sets() {
	for _, s := range poolSets {
		if !g.bool("has " + s.Name) {
			continue
		}
		name := s.Name
		if g.foreign && g.rarely(8, name+" is another") {
			s = pick(g, poolSets, "kind")
			s.Name = name
			if g.rarely(3, name+" is foreign") {
				s = ruleset.Set{Name: name, Type: ruleset.ForeignType}
			}
		}
		g.r.Sets[name] = g.fillSet(s)
	}
}

func (g *rulesetGen) fillSet(s ruleset.Set) *ruleset.Set {
	s.Elems = map[ruleset.Elem]ruleset.Verdict{}
	if s.Verdicts {
		g.level[s.Name] = rapid.IntRange(0, len(g.order)).Draw(g.t, "level")
	}
	if s.Interval {
		g.fillIntervals(&s)
		return &s
	}
	if s.Type == ruleset.ForeignType {
		return &s
	}
	for range rapid.IntRange(0, 4).Draw(g.t, "elements") {
		e, v := elem(g, s.Type), ruleset.Verdict{}
		if s.Verdicts {
			v = g.verdict(g.level[s.Name])
		}
		s.Elems[e] = v
	}
	return &s
}

func elem(g *rulesetGen, typ ruleset.SetType) ruleset.Elem {
	switch typ {
	case ruleset.Addr4:
		return ruleset.Elem{A: pick(g, pool4, "a")}
	case ruleset.Addr6:
		return ruleset.Elem{A: pick(g, pool6, "a")}
	case ruleset.Addr4Port:
		return ruleset.Elem{A: pick(g, pool4, "a"), Port: pick(g, poolPorts, "port")}
	case ruleset.Addr6Port:
		return ruleset.Elem{A: pick(g, pool6, "a"), Port: pick(g, poolPorts, "port")}
	case ruleset.Addr4Pair:
		return ruleset.Elem{A: pick(g, pool4, "a"), B: pick(g, pool4, "b")}
	case ruleset.Addr6Pair:
		return ruleset.Elem{A: pick(g, pool6, "a"), B: pick(g, pool6, "b")}
	}
	return ruleset.Elem{}
}

// fillIntervals adds disjoint pieces of a small range of addresses, sometimes with both ends of the family.
func (g *rulesetGen) fillIntervals(s *ruleset.Set) {
	base := netip.MustParseAddr("10.0.0.0")
	lowest, highest := netip.MustParseAddr("0.0.0.0"), netip.MustParseAddr("255.255.255.255")
	if s.Type == ruleset.Addr6 {
		base = netip.MustParseAddr("fd00::")
		lowest, highest = netip.IPv6Unspecified(), netip.MustParseAddr("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")
	}
	if g.rarely(10, "everything") {
		s.Elems[ruleset.Elem{A: lowest, B: highest}] = ruleset.Verdict{}
		return
	}
	if g.rarely(4, "lowest") {
		s.Elems[ruleset.Elem{A: lowest, B: lowest.Next()}] = ruleset.Verdict{}
	}
	if g.rarely(4, "highest") {
		s.Elems[ruleset.Elem{A: highest.Prev(), B: highest}] = ruleset.Verdict{}
	}
	cuts := rapid.SliceOfNDistinct(rapid.IntRange(0, 20), 0, 6, rapid.ID[int]).Draw(g.t, "cuts")
	slices.Sort(cuts)
	for i := 0; i+1 < len(cuts); i += 2 {
		s.Elems[ruleset.Elem{A: plus(base, cuts[i]), B: plus(base, cuts[i+1]-1)}] = ruleset.Verdict{}
	}
}

func plus(a netip.Addr, n int) netip.Addr {
	for range n {
		a = a.Next()
	}
	return a
}

// verdict draws a verdict. Jumps and gotos lead to chains of a level and above.
func (g *rulesetGen) verdict(level int) ruleset.Verdict {
	kinds := []ruleset.VerdictKind{ruleset.Accept, ruleset.Drop, ruleset.Return, ruleset.Continue}
	if level < len(g.order) {
		kinds = append(kinds, ruleset.Jump, ruleset.Goto, ruleset.Jump, ruleset.Goto, ruleset.Jump, ruleset.Goto)
	}
	v := ruleset.Verdict{Kind: pick(g, kinds, "verdict")}
	if v.Kind == ruleset.Jump || v.Kind == ruleset.Goto {
		v.Chain = pick(g, g.order[level:], "target")
	}
	return v
}

func (g *rulesetGen) rules(level int) []ruleset.Rule {
	var rules []ruleset.Rule
	for range rapid.IntRange(0, 4).Draw(g.t, "rules") {
		rules = append(rules, g.rule(level))
	}
	return rules
}

func (g *rulesetGen) rule(level int) ruleset.Rule {
	r := ruleset.Rule{Comment: pick(g, []string{"", "ns/policy rule 0", "naïve"}, "comment")}
	for range rapid.IntRange(0, 2).Draw(g.t, "matches") {
		r.Matches = withoutConflict(r.Matches, g.match())
	}
	if m := g.setMatch(level); m != nil {
		r.Matches = withoutConflict(r.Matches, m)
	}
	if n := len(r.Matches); n > 0 && ruleset.FactsOf(r.Matches[n-1]).Verdicts {
		return r
	}
	r.Verdict = g.verdict(level + 1)
	return r
}

func withoutConflict(matches []ruleset.Match, m ruleset.Match) []ruleset.Match {
	for _, o := range matches {
		if ruleset.FactsOf(o).Contradicts(ruleset.FactsOf(m)) {
			return matches
		}
	}
	return append(matches, m)
}

func (g *rulesetGen) match() ruleset.Match {
	if g.foreign && g.rarely(12, "foreign match") {
		return ruleset.Foreign{Note: "not \"ours\"\n"}
	}
	return pick(g, []ruleset.Match{
		ruleset.CtEstablished{}, ruleset.LocalSource{}, ruleset.NotSYN{}, ruleset.NotUnicast{}, ruleset.BroadcastDst{}, ruleset.OnBridge{Name: "cni0"}, ruleset.OnBridge{Name: "br-0123456789abc"[:15]}, ruleset.IsFamily{Family: ruleset.V4}, ruleset.IsFamily{Family: ruleset.V6},
		ruleset.IsProtocol{Protocol: unix.IPPROTO_TCP}, ruleset.IsProtocol{Protocol: unix.IPPROTO_ICMPV6}, ruleset.ICMPv6Types{First: 133, Last: 137}, ruleset.ICMPv6Types{First: 128, Last: 128},
		ruleset.InPrefix{End: ruleset.Src, Prefix: netip.MustParsePrefix("10.0.0.0/24")}, ruleset.InPrefix{End: ruleset.Dst, Prefix: netip.MustParsePrefix("0.0.0.0/0")},
		ruleset.InPrefix{End: ruleset.Dst, Prefix: netip.MustParsePrefix("fd00::/17")}, ruleset.InPrefix{End: ruleset.Src, Prefix: netip.MustParsePrefix("10.0.0.1/32")},
		ruleset.DstPort{Protocol: unix.IPPROTO_TCP, First: 80, Last: 80}, ruleset.DstPort{Protocol: unix.IPPROTO_UDP, First: 0, Last: 65535}, ruleset.DstPort{Protocol: unix.IPPROTO_SCTP, First: 50, Last: 100},
	}, "match")
}

// setMatch draws a match that looks up one of the existing sets, or returns nil.
func (g *rulesetGen) setMatch(level int) ruleset.Match {
	names := slices.Sorted(maps.Keys(g.r.Sets))
	if len(names) == 0 || g.bool("no set") {
		return nil
	}
	s := g.r.Sets[pick(g, names, "set")]
	if s.Verdicts && level >= g.level[s.Name] {
		return nil
	}
	return matchFor(s, pick(g, []ruleset.End{ruleset.Src, ruleset.Dst}, "end"), pick(g, poolProto, "proto"))
}

func matchFor(s *ruleset.Set, end ruleset.End, proto uint8) ruleset.Match {
	switch {
	case s.Type == ruleset.Addr4 && s.Verdicts:
		return ruleset.AddrVerdict{End: end, Family: ruleset.V4, Map: s.Name}
	case s.Type == ruleset.Addr6 && s.Verdicts:
		return ruleset.AddrVerdict{End: end, Family: ruleset.V6, Map: s.Name}
	case s.Type == ruleset.Addr4:
		return ruleset.InSet{End: end, Family: ruleset.V4, Set: s.Name}
	case s.Type == ruleset.Addr6:
		return ruleset.InSet{End: end, Family: ruleset.V6, Set: s.Name}
	case s.Type == ruleset.Addr4Port:
		return ruleset.DstAddrPortInSet{Family: ruleset.V4, Protocol: proto, Set: s.Name}
	case s.Type == ruleset.Addr6Port:
		return ruleset.DstAddrPortInSet{Family: ruleset.V6, Protocol: proto, Set: s.Name}
	case s.Type == ruleset.Addr4Pair:
		return ruleset.AddrPairInSet{Family: ruleset.V4, Set: s.Name}
	case s.Type == ruleset.Addr6Pair:
		return ruleset.AddrPairInSet{Family: ruleset.V6, Set: s.Name}
	}
	return nil
}

// Packet draws a packet whose fields random rulesets often match.
func Packet(t *rapid.T) trace.Packet {
	g := &rulesetGen{t: t}
	pool := pool4
	if g.bool("ipv6") {
		pool = pool6
	}
	return trace.Packet{
		Src: pick(g, pool, "src"), Dst: pick(g, pool, "dst"),
		Protocol: pick(g, []uint8{unix.IPPROTO_TCP, unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_SCTP, unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6}, "protocol"),
		DstPort:  pick(g, poolPorts, "port"), ICMPType: pick(g, []uint8{128, 135}, "icmp type"),
		SYN: g.bool("syn"), Established: g.rarely(4, "established"), LocalSource: g.rarely(4, "local"),
	}
}
