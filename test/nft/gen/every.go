package gen

import (
	"net/netip"
	"strings"

	"github.com/netpol-agent/netpol-agent/internal/render/nft/ruleset"
)

func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }
func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// Every returns a ruleset with each kind of set, match and verdict.
func Every() *ruleset.Ruleset {
	r := ruleset.New()
	addSet := func(s ruleset.Set, elems ...ruleset.ElemVerdict) {
		s.Elems = map[ruleset.Elem]ruleset.Verdict{}
		for _, e := range elems {
			s.Elems[e.Elem] = e.Verdict
		}
		r.Sets[s.Name] = &s
	}
	key := func(e ruleset.Elem) ruleset.ElemVerdict { return ruleset.ElemVerdict{Elem: e} }
	addSet(ruleset.Set{Name: "blocks4", Type: ruleset.Addr4, Interval: true, Comment: "10.0.0.0/8 except 10.1.0.0/16"},
		key(ruleset.Elem{A: addr("255.0.0.0"), B: addr("255.255.255.255")}),
		key(ruleset.Elem{A: addr("10.0.0.0"), B: addr("10.0.255.255")}),
		key(ruleset.Elem{A: addr("10.2.0.0"), B: addr("10.2.0.5")}),
		key(ruleset.Elem{A: addr("9.0.0.1"), B: addr("9.0.0.1")}))
	addSet(ruleset.Set{Name: "all6", Type: ruleset.Addr6, Interval: true},
		key(ruleset.Elem{A: addr("::"), B: addr("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")}))
	addSet(ruleset.Set{Name: "pods4", Type: ruleset.Addr4}, key(ruleset.Elem{A: addr("10.0.0.9")}), key(ruleset.Elem{A: addr("10.0.0.10")}))
	addSet(ruleset.Set{Name: "pods6", Type: ruleset.Addr6})
	addSet(ruleset.Set{Name: "web4", Type: ruleset.Addr4Port}, key(ruleset.Elem{A: addr("10.0.0.1"), Port: 8080}), key(ruleset.Elem{A: addr("10.0.0.1"), Port: 80}))
	addSet(ruleset.Set{Name: "web6", Type: ruleset.Addr6Port}, key(ruleset.Elem{A: addr("fd00::1"), Port: 80}))
	addSet(ruleset.Set{Name: "pairs4", Type: ruleset.Addr4Pair}, key(ruleset.Elem{A: addr("10.0.0.1"), B: addr("10.0.0.1")}))
	addSet(ruleset.Set{Name: "pairs6", Type: ruleset.Addr6Pair}, key(ruleset.Elem{A: addr("fd00::1"), B: addr("fd00::2")}))
	addSet(ruleset.Set{Name: "ingress4", Type: ruleset.Addr4, Verdicts: true},
		ruleset.ElemVerdict{Elem: ruleset.Elem{A: addr("10.0.0.1")}, Verdict: ruleset.Verdict{Kind: ruleset.Jump, Chain: "ingress/shop"}},
		ruleset.ElemVerdict{Elem: ruleset.Elem{A: addr("10.0.0.2")}, Verdict: ruleset.Verdict{Kind: ruleset.Goto, Chain: "ingress/shop"}},
		ruleset.ElemVerdict{Elem: ruleset.Elem{A: addr("10.0.0.3")}, Verdict: ruleset.Verdict{Kind: ruleset.Return}},
		ruleset.ElemVerdict{Elem: ruleset.Elem{A: addr("10.0.0.4")}, Verdict: ruleset.Verdict{Kind: ruleset.Continue}})
	r.Chains["output"] = &ruleset.Chain{Name: "output", Hook: &ruleset.Hook{Point: ruleset.Output, Priority: -5}}
	r.Chains["forward"] = &ruleset.Chain{Name: "forward", Hook: &ruleset.Hook{Point: ruleset.Forward, Priority: 5}, Comment: "Entry", Rules: []ruleset.Rule{
		{Matches: []ruleset.Match{ruleset.CtEstablished{}}, Verdict: ruleset.Verdict{Kind: ruleset.Accept}, Comment: "known connections"},
		{Matches: []ruleset.Match{ruleset.AddrVerdict{End: ruleset.Dst, Family: ruleset.V4, Map: "ingress4"}}},
	}}
	r.Chains["empty"] = &ruleset.Chain{Name: "empty"}
	r.Chains["ingress/shop"] = &ruleset.Chain{Name: "ingress/shop", Comment: "policy shop/allow", Rules: everyRule()}
	return r
}

func everyRule() []ruleset.Rule {
	accept := ruleset.Verdict{Kind: ruleset.Accept}
	var rules []ruleset.Rule
	for _, m := range []ruleset.Match{
		ruleset.LocalSource{}, ruleset.NotUnicast{}, ruleset.BroadcastDst{}, ruleset.OnBridge{Name: "cni0"}, ruleset.NotSYN{}, ruleset.ICMPv6Types{First: 133, Last: 137}, ruleset.ICMPv6Types{First: 0, Last: 255}, ruleset.ICMPv6Types{First: 128, Last: 128},
		ruleset.InPrefix{End: ruleset.Src, Prefix: prefix("10.0.0.0/8")}, ruleset.InPrefix{End: ruleset.Dst, Prefix: prefix("10.0.0.1/32")}, ruleset.InPrefix{End: ruleset.Src, Prefix: prefix("0.0.0.0/0")},
		ruleset.InPrefix{End: ruleset.Dst, Prefix: prefix("fd00::/64")}, ruleset.InPrefix{End: ruleset.Src, Prefix: prefix("::/0")},
		ruleset.InSet{End: ruleset.Src, Family: ruleset.V4, Set: "blocks4"}, ruleset.InSet{End: ruleset.Dst, Family: ruleset.V4, Set: "pods4"}, ruleset.InSet{End: ruleset.Src, Family: ruleset.V6, Set: "all6"}, ruleset.InSet{End: ruleset.Src, Family: ruleset.V6, Set: "pods6"},
		ruleset.DstPort{Protocol: 6, First: 80, Last: 80}, ruleset.DstPort{Protocol: 17, First: 1000, Last: 2000}, ruleset.DstPort{Protocol: 132, First: 0, Last: 65535},
		ruleset.DstAddrPortInSet{Family: ruleset.V4, Protocol: 6, Set: "web4"}, ruleset.DstAddrPortInSet{Family: ruleset.V6, Protocol: 132, Set: "web6"},
		ruleset.AddrPairInSet{Family: ruleset.V4, Set: "pairs4"}, ruleset.AddrPairInSet{Family: ruleset.V6, Set: "pairs6"},
		ruleset.IsProtocol{Protocol: 1}, ruleset.IsProtocol{Protocol: 58}, ruleset.IsProtocol{Protocol: 6}, ruleset.IsProtocol{Protocol: 0}, ruleset.IsProtocol{Protocol: 255},
	} {
		rules = append(rules, ruleset.Rule{Matches: []ruleset.Match{m}, Verdict: accept})
	}
	return append(rules,
		ruleset.Rule{Matches: []ruleset.Match{ruleset.IsFamily{Family: ruleset.V4}, ruleset.LocalSource{}}, Verdict: ruleset.Verdict{Kind: ruleset.Jump, Chain: "empty"}, Comment: "rule 1"},
		ruleset.Rule{Matches: []ruleset.Match{ruleset.IsFamily{Family: ruleset.V6}, ruleset.LocalSource{}}, Verdict: ruleset.Verdict{Kind: ruleset.Goto, Chain: "empty"}},
		ruleset.Rule{Matches: []ruleset.Match{ruleset.NotUnicast{}}, Comment: strings.Repeat("é", ruleset.MaxComment/2)},
		ruleset.Rule{Verdict: ruleset.Verdict{Kind: ruleset.Return}},
		ruleset.Rule{},
		ruleset.Rule{Verdict: ruleset.Verdict{Kind: ruleset.Drop}, Comment: "isolated"},
	)
}
