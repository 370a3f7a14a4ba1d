package kernel

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/netpol-agent/netpol-agent/internal/render/nft/ruleset"
)

func addr(s string) netip.Addr      { return netip.MustParseAddr(s) }
func cidr(s string) netip.Prefix    { return netip.MustParsePrefix(s) }
func accept() ruleset.Verdict       { return ruleset.Verdict{Kind: ruleset.Accept} }
func drop() ruleset.Verdict         { return ruleset.Verdict{Kind: ruleset.Drop} }
func jump(c string) ruleset.Verdict { return ruleset.Verdict{Kind: ruleset.Jump, Chain: c} }
func goTo(c string) ruleset.Verdict { return ruleset.Verdict{Kind: ruleset.Goto, Chain: c} }
func elem(s string) ruleset.Elem    { return ruleset.Elem{A: addr(s)} }
func span(a, b string) ruleset.Elem { return ruleset.Elem{A: addr(a), B: addr(b)} }
func plain(e ...ruleset.Elem) map[ruleset.Elem]ruleset.Verdict {
	m := map[ruleset.Elem]ruleset.Verdict{}
	for _, e := range e {
		m[e] = ruleset.Verdict{}
	}
	return m
}

func rule(v ruleset.Verdict, comment string, m ...ruleset.Match) ruleset.Rule {
	return ruleset.Rule{Matches: m, Verdict: v, Comment: comment}
}

// sample returns a ruleset with every kind of match, verdict and set, and with the combinations of matches that a
// layout consists of.
func sample() *ruleset.Ruleset {
	rs := ruleset.New()
	for _, s := range sampleSets() {
		rs.Sets[s.Name] = s
	}
	for _, c := range sampleChains() {
		rs.Chains[c.Name] = c
	}
	return rs
}

func sampleSets() []*ruleset.Set {
	web := ruleset.Verdict{Kind: ruleset.Goto, Chain: "in/web"}
	return []*ruleset.Set{
		{Name: "pods4", Comment: "shop/web: app=web", Elems: plain(elem("10.244.1.2"), elem("10.244.1.3"))},
		{Name: "pods6", Type: ruleset.Addr6, Elems: plain(elem("fd00::2"))},
		{Name: "block4", Interval: true, Comment: "10.0.0.0/8 except 10.1.0.0/16",
			Elems: plain(span("10.0.0.0", "10.0.255.255"), span("10.2.0.0", "10.255.255.255"))},
		{Name: "edges4", Interval: true, Elems: plain(span("0.0.0.0", "0.0.0.9"), span("192.0.2.1", "192.0.2.1"),
			span("255.255.255.0", "255.255.255.255"))},
		{Name: "block6", Type: ruleset.Addr6, Interval: true, Elems: plain(span("::", "::ffff"), span("fd00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"))},
		{Name: "empty6", Type: ruleset.Addr6, Interval: true, Elems: plain()},
		{Name: "np4", Type: ruleset.Addr4Port, Elems: plain(ruleset.Elem{A: addr("10.244.1.2"), Port: 8080})},
		{Name: "np6", Type: ruleset.Addr6Port, Elems: plain(ruleset.Elem{A: addr("fd00::2"), Port: 8080})},
		{Name: "pair4", Type: ruleset.Addr4Pair, Elems: plain(span("10.244.1.2", "10.244.1.3"))},
		{Name: "pair6", Type: ruleset.Addr6Pair, Elems: plain(span("fd00::2", "fd00::3"))},
		{Name: "dispatch4", Verdicts: true, Comment: "pods of this node", Elems: map[ruleset.Elem]ruleset.Verdict{
			elem("10.244.1.2"): web, elem("10.244.1.3"): jump("in/web"), elem("10.244.1.4"): drop()}},
		{Name: "dispatch6", Type: ruleset.Addr6, Verdicts: true, Elems: map[ruleset.Elem]ruleset.Verdict{elem("fd00::2"): web}},
		{Name: "inner6", Type: ruleset.Addr6, Verdicts: true, Elems: map[ruleset.Elem]ruleset.Verdict{
			elem("fd00::3"): accept(), elem("fd00::4"): goTo("in/dns"), elem("fd00::5"): {Kind: ruleset.Return}}},
	}
}

func sampleChains() []*ruleset.Chain {
	const tcp, udp, sctp = unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_SCTP
	none := ruleset.Verdict{}
	src := func(f ruleset.Family, s string) ruleset.Match { return ruleset.InSet{Family: f, Set: s} }
	dst := func(f ruleset.Family, s string) ruleset.Match {
		return ruleset.InSet{End: ruleset.Dst, Family: f, Set: s}
	}
	from := func(s string) ruleset.Match { return ruleset.InPrefix{Prefix: cidr(s)} }
	to := func(s string) ruleset.Match { return ruleset.InPrefix{End: ruleset.Dst, Prefix: cidr(s)} }
	port := func(p uint8, first, last uint16) ruleset.Match {
		return ruleset.DstPort{Protocol: p, First: first, Last: last}
	}
	return []*ruleset.Chain{
		{Name: "forward", Comment: "routed and bridged traffic", Hook: &ruleset.Hook{Priority: -5}, Rules: []ruleset.Rule{
			rule(accept(), "", ruleset.CtEstablished{}),
			rule(accept(), "neighbour discovery", ruleset.ICMPv6Types{First: 133, Last: 137}),
			rule(none, "", ruleset.AddrVerdict{Family: ruleset.V4, Map: "dispatch4"}),
			rule(none, "", ruleset.AddrVerdict{End: ruleset.Dst, Family: ruleset.V6, Map: "dispatch6"}),
		}},
		{Name: "output", Hook: &ruleset.Hook{Point: ruleset.Output, Priority: 7}, Rules: []ruleset.Rule{
			rule(accept(), "", ruleset.LocalSource{}),
			rule(drop(), "", ruleset.NotSYN{}),
			rule(drop(), "", ruleset.OnBridge{Name: "cni0"}, ruleset.NotUnicast{}),
			rule(drop(), "", ruleset.BroadcastDst{}),
			rule(goTo("in/web"), "", ruleset.IsFamily{Family: ruleset.V4}),
			rule(jump("in/dns"), "", ruleset.IsFamily{Family: ruleset.V6}),
			rule(ruleset.Verdict{Kind: ruleset.Return}, "", ruleset.IsProtocol{Protocol: sctp}),
		}},
		{Name: "in/web", Comment: "shop/web", Rules: []ruleset.Rule{
			rule(accept(), "shop/web ingress 0", src(ruleset.V4, "pods4")),
			rule(accept(), "shop/web ingress 1", port(tcp, 80, 80), src(ruleset.V4, "pods4")),
			rule(accept(), "", port(udp, 8000, 8999), src(ruleset.V6, "pods6"), dst(ruleset.V6, "block6")),
			rule(accept(), "", port(sctp, 0, 65535), src(ruleset.V4, "block4"), dst(ruleset.V4, "edges4")),
			rule(accept(), "", ruleset.DstAddrPortInSet{Family: ruleset.V4, Protocol: tcp, Set: "np4"}),
			rule(accept(), "", ruleset.DstAddrPortInSet{Family: ruleset.V6, Protocol: udp, Set: "np6"}, src(ruleset.V6, "pods6")),
			rule(accept(), "", ruleset.AddrPairInSet{Family: ruleset.V4, Set: "pair4"}),
			rule(accept(), "", ruleset.AddrPairInSet{Family: ruleset.V6, Set: "pair6"}, port(tcp, 443, 443)),
			rule(none, "", src(ruleset.V6, "empty6"), ruleset.AddrVerdict{End: ruleset.Dst, Family: ruleset.V6, Map: "inner6"}),
			rule(drop(), "the rest"),
		}},
		{Name: "in/dns", Rules: []ruleset.Rule{
			rule(accept(), "", from("10.0.0.0/8"), to("192.168.0.0/16")),
			rule(accept(), "", from("192.0.2.0/24"), to("198.51.100.7/32")),
			rule(accept(), "", from("172.16.0.0/12"), to("10.64.0.0/10")),
			rule(accept(), "", from("0.0.0.0/0"), port(tcp, 80, 81)),
			rule(accept(), "", from("fd00::/8"), to("2001:db8::/32")),
			rule(accept(), "", from("fd00:1:2:3::/64"), to("fd00::1/128")),
			rule(accept(), "", from("fc00::/7"), to("2001:db8:8000::/33")),
			rule(accept(), "", to("::/0"), ruleset.IsProtocol{Protocol: 47}),
		}},
	}
}
