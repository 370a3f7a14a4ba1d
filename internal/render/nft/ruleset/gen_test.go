package ruleset

import (
	"fmt"
	"net/netip"
	"slices"

	"pgregory.net/rapid"
)

// Small pools, so that random rulesets share names, addresses and ports.
var (
	pool4     = addrs("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.1.1", "192.168.0.1")
	pool6     = addrs("fd00::1", "fd00::2", "fd00:1::1")
	poolPorts = []uint16{53, 80, 443}
	poolProto = []uint8{protoTCP, protoUDP, protoSCTP}

	poolSets = []Set{
		{Name: "a4", Type: Addr4}, {Name: "b4", Type: Addr4}, {Name: "a6", Type: Addr6},
		{Name: "i4", Type: Addr4, Interval: true}, {Name: "i6", Type: Addr6, Interval: true},
		{Name: "p4", Type: Addr4Port}, {Name: "p6", Type: Addr6Port},
		{Name: "d4", Type: Addr4Pair}, {Name: "d6", Type: Addr6Pair},
		{Name: "m4", Type: Addr4, Verdicts: true}, {Name: "n4", Type: Addr4, Verdicts: true},
		{Name: "m6", Type: Addr6, Verdicts: true}, {Name: "mp", Type: ProtoPort, Verdicts: true},
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

// rulesetGen makes random consistent rulesets.
type rulesetGen struct {
	t *rapid.T
	// foreign allows what only another hand than ours would make: sets and chains of other kinds under our
	// names, foreign rules.
	foreign bool

	r     *Ruleset
	order []string       // regular chains; each leads only to later ones
	level map[string]int // of maps: elements lead to chains from here on, and only earlier chains name the map
}

func genRuleset(t *rapid.T, foreign bool) *Ruleset {
	g := &rulesetGen{t: t, foreign: foreign, r: New(), level: map[string]int{}}
	g.chains()
	g.sets()
	for i, name := range g.order {
		g.r.Chains[name].Rules = g.rules(i)
	}
	for _, name := range sortedKeys(g.r.Chains) {
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
	c := &Chain{Name: name}
	if base {
		c.Hook = &Hook{Point: Forward, Priority: 5}
		if name == "output" {
			c.Hook.Point = Output
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
				s = Set{Name: name, Type: ForeignType}
			}
		}
		g.r.Sets[name] = g.fillSet(s)
	}
}

func (g *rulesetGen) fillSet(s Set) *Set {
	s.Elems = map[Elem]Verdict{}
	if s.Verdicts {
		g.level[s.Name] = rapid.IntRange(0, len(g.order)).Draw(g.t, "level")
	}
	if s.Interval {
		g.fillIntervals(&s)
		return &s
	}
	if s.Type == ForeignType {
		return &s
	}
	for range rapid.IntRange(0, 4).Draw(g.t, "elements") {
		e, v := genElem(g, s.Type), Verdict{}
		if s.Verdicts {
			v = g.verdict(g.level[s.Name])
		}
		s.Elems[e] = v
	}
	return &s
}

func genElem(g *rulesetGen, typ SetType) Elem {
	switch typ {
	case Addr4:
		return Elem{A: pick(g, pool4, "a")}
	case Addr6:
		return Elem{A: pick(g, pool6, "a")}
	case Addr4Port:
		return Elem{A: pick(g, pool4, "a"), Port: pick(g, poolPorts, "port")}
	case Addr6Port:
		return Elem{A: pick(g, pool6, "a"), Port: pick(g, poolPorts, "port")}
	case Addr4Pair:
		return Elem{A: pick(g, pool4, "a"), B: pick(g, pool4, "b")}
	case Addr6Pair:
		return Elem{A: pick(g, pool6, "a"), B: pick(g, pool6, "b")}
	}
	return Elem{Proto: pick(g, poolProto, "proto"), Port: pick(g, poolPorts, "port")}
}

// fillIntervals takes disjoint pieces of a small stretch of addresses, sometimes with both ends of the family.
func (g *rulesetGen) fillIntervals(s *Set) {
	base := netip.MustParseAddr("10.0.0.0")
	lowest, highest := netip.MustParseAddr("0.0.0.0"), netip.MustParseAddr("255.255.255.255")
	if s.Type == Addr6 {
		base = netip.MustParseAddr("fd00::")
		lowest, highest = netip.IPv6Unspecified(), netip.MustParseAddr("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")
	}
	if g.rarely(10, "everything") {
		s.Elems[Elem{A: lowest, B: highest}] = Verdict{}
		return
	}
	if g.rarely(4, "lowest") {
		s.Elems[Elem{A: lowest, B: lowest.Next()}] = Verdict{}
	}
	if g.rarely(4, "highest") {
		s.Elems[Elem{A: highest.Prev(), B: highest}] = Verdict{}
	}
	cuts := rapid.SliceOfNDistinct(rapid.IntRange(0, 20), 0, 6, rapid.ID[int]).Draw(g.t, "cuts")
	slices.Sort(cuts)
	for i := 0; i+1 < len(cuts); i += 2 {
		s.Elems[Elem{A: plus(base, cuts[i]), B: plus(base, cuts[i+1]-1)}] = Verdict{}
	}
}

func plus(a netip.Addr, n int) netip.Addr {
	for range n {
		a = a.Next()
	}
	return a
}

// verdict leads to chains from a level on.
func (g *rulesetGen) verdict(level int) Verdict {
	kinds := []VerdictKind{Accept, Drop, Return, Continue}
	if level < len(g.order) {
		kinds = append(kinds, Jump, Goto, Jump, Goto, Jump, Goto)
	}
	v := Verdict{Kind: pick(g, kinds, "verdict")}
	if v.Kind == Jump || v.Kind == Goto {
		v.Chain = pick(g, g.order[level:], "target")
	}
	return v
}

func (g *rulesetGen) rules(level int) []Rule {
	var rules []Rule
	for range rapid.IntRange(0, 4).Draw(g.t, "rules") {
		rules = append(rules, g.rule(level))
	}
	return rules
}

func (g *rulesetGen) rule(level int) Rule {
	r := Rule{Comment: pick(g, []string{"", "ns/policy rule 0", "naïve"}, "comment")}
	for range rapid.IntRange(0, 2).Draw(g.t, "matches") {
		r.Matches = withoutConflict(r.Matches, g.match())
	}
	if m := g.setMatch(level); m != nil {
		r.Matches = withoutConflict(r.Matches, m)
	}
	if n := len(r.Matches); n > 0 {
		m := r.Matches[n-1]
		if use, _ := setUseOf(m); use.verdicts {
			return r
		}
	}
	r.Verdict = g.verdict(level + 1)
	return r
}

func withoutConflict(matches []Match, m Match) []Match {
	if _, _, conflict := conflictOf(append(slices.Clone(matches), m)); conflict {
		return matches
	}
	return append(matches, m)
}

func (g *rulesetGen) match() Match {
	if g.foreign && g.rarely(12, "foreign match") {
		return Foreign{Note: "not \"ours\"\n"}
	}
	return pick(g, []Match{
		CtEstablished{}, LocalSource{}, NotSYN{}, NotUnicast{}, BroadcastDst{}, OnBridge{"cni0"}, OnBridge{"br-0123456789abc"[:15]}, IsFamily{V4}, IsFamily{V6},
		IsProtocol{protoTCP}, IsProtocol{protoICMPv6}, ICMPv6Types{133, 137}, ICMPv6Types{128, 128},
		InPrefix{Src, netip.MustParsePrefix("10.0.0.0/24")}, InPrefix{Dst, netip.MustParsePrefix("0.0.0.0/0")},
		InPrefix{Dst, netip.MustParsePrefix("fd00::/17")}, InPrefix{Src, netip.MustParsePrefix("10.0.0.1/32")},
		DstPort{protoTCP, 80, 80}, DstPort{protoUDP, 0, 65535}, DstPort{protoSCTP, 50, 100},
	}, "match")
}

// setMatch looks up one of the sets that are there, or gives nil.
func (g *rulesetGen) setMatch(level int) Match {
	names := sortedKeys(g.r.Sets)
	if len(names) == 0 || g.bool("no set") {
		return nil
	}
	s := g.r.Sets[pick(g, names, "set")]
	if s.Verdicts && level >= g.level[s.Name] {
		return nil
	}
	return matchFor(s, pick(g, []End{Src, Dst}, "end"), pick(g, poolProto, "proto"))
}

func matchFor(s *Set, end End, proto uint8) Match {
	switch {
	case s.Type == ProtoPort && s.Verdicts:
		return PortVerdict{s.Name}
	case s.Type == Addr4 && s.Verdicts:
		return AddrVerdict{end, V4, s.Name}
	case s.Type == Addr6 && s.Verdicts:
		return AddrVerdict{end, V6, s.Name}
	case s.Type == Addr4:
		return InSet{end, V4, s.Name}
	case s.Type == Addr6:
		return InSet{end, V6, s.Name}
	case s.Type == Addr4Port:
		return DstAddrPortInSet{V4, proto, s.Name}
	case s.Type == Addr6Port:
		return DstAddrPortInSet{V6, proto, s.Name}
	case s.Type == Addr4Pair:
		return AddrPairInSet{V4, s.Name}
	case s.Type == Addr6Pair:
		return AddrPairInSet{V6, s.Name}
	}
	return nil
}

func genPacket(t *rapid.T) Packet {
	g := &rulesetGen{t: t}
	pool := pool4
	if g.bool("ipv6") {
		pool = pool6
	}
	return Packet{
		Src: pick(g, pool, "src"), Dst: pick(g, pool, "dst"),
		Protocol: pick(g, []uint8{protoTCP, protoTCP, protoUDP, protoSCTP, protoICMP, protoICMPv6}, "protocol"),
		DstPort:  pick(g, poolPorts, "port"), ICMPType: pick(g, []uint8{128, 135}, "icmp type"),
		SYN: g.bool("syn"), Established: g.rarely(4, "established"), LocalSource: g.rarely(4, "local"),
	}
}

// dirtyOf names what differs, and a little more.
func dirtyOf(g *rulesetGen, a, b *Ruleset) *Dirty {
	d := NewDirty()
	for _, name := range unionKeys(a.Chains, b.Chains) {
		x, y := a.Chains[name], b.Chains[name]
		if x == nil || y == nil || !sameHook(x.Hook, y.Hook) || !sameRules(x.Rules, y.Rules) || g.rarely(5, "extra chain") {
			d.Chain(name)
		}
	}
	for _, name := range unionKeys(a.Sets, b.Sets) {
		x, y := a.Sets[name], b.Sets[name]
		if x == nil || y == nil || !sameSetKind(x, y) || g.rarely(5, "whole set") {
			d.Set(name)
			continue
		}
		for _, e := range append(x.sortedElems(), y.sortedElems()...) {
			v, inX := x.Elems[e.Elem]
			w, inY := y.Elems[e.Elem]
			if inX != inY || v != w || g.rarely(5, "extra element") {
				d.Elem(name, e.Elem)
			}
		}
	}
	return d
}

func describe(tx *Tx) string { return fmt.Sprintf("%d operations:\n%s", len(tx.Ops), tx) }
