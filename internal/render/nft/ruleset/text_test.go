package ruleset

import (
	"net/netip"
	"strings"
	"testing"
)

func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }
func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// every is a ruleset with each kind of set, match and verdict.
func every() *Ruleset {
	r := New()
	addSet := func(s Set, elems ...ElemVerdict) {
		s.Elems = map[Elem]Verdict{}
		for _, e := range elems {
			s.Elems[e.Elem] = e.Verdict
		}
		r.Sets[s.Name] = &s
	}
	key := func(e Elem) ElemVerdict { return ElemVerdict{Elem: e} }
	addSet(Set{Name: "blocks4", Type: Addr4, Interval: true, Comment: "10.0.0.0/8 except 10.1.0.0/16"},
		key(Elem{A: addr("255.0.0.0"), B: addr("255.255.255.255")}),
		key(Elem{A: addr("10.0.0.0"), B: addr("10.0.255.255")}),
		key(Elem{A: addr("10.2.0.0"), B: addr("10.2.0.5")}),
		key(Elem{A: addr("9.0.0.1"), B: addr("9.0.0.1")}))
	addSet(Set{Name: "all6", Type: Addr6, Interval: true},
		key(Elem{A: addr("::"), B: addr("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")}))
	addSet(Set{Name: "pods4", Type: Addr4}, key(Elem{A: addr("10.0.0.9")}), key(Elem{A: addr("10.0.0.10")}))
	addSet(Set{Name: "pods6", Type: Addr6})
	addSet(Set{Name: "web4", Type: Addr4Port}, key(Elem{A: addr("10.0.0.1"), Port: 8080}), key(Elem{A: addr("10.0.0.1"), Port: 80}))
	addSet(Set{Name: "web6", Type: Addr6Port}, key(Elem{A: addr("fd00::1"), Port: 80}))
	addSet(Set{Name: "pairs4", Type: Addr4Pair}, key(Elem{A: addr("10.0.0.1"), B: addr("10.0.0.1")}))
	addSet(Set{Name: "pairs6", Type: Addr6Pair}, key(Elem{A: addr("fd00::1"), B: addr("fd00::2")}))
	addSet(Set{Name: "ingress4", Type: Addr4, Verdicts: true},
		ElemVerdict{Elem{A: addr("10.0.0.1")}, Verdict{Jump, "ingress/shop"}},
		ElemVerdict{Elem{A: addr("10.0.0.2")}, Verdict{Goto, "ingress/shop"}},
		ElemVerdict{Elem{A: addr("10.0.0.3")}, Verdict{Kind: Return}},
		ElemVerdict{Elem{A: addr("10.0.0.4")}, Verdict{Kind: Continue}})
	addSet(Set{Name: "ports", Type: ProtoPort, Verdicts: true},
		ElemVerdict{Elem{Proto: 17, Port: 53}, Verdict{Kind: Accept}},
		ElemVerdict{Elem{Proto: 6, Port: 443}, Verdict{Kind: Drop}},
		ElemVerdict{Elem{Proto: 132, Port: 1}, Verdict{Kind: Accept}})
	r.Chains["output"] = &Chain{Name: "output", Hook: &Hook{Output, -5}}
	r.Chains["forward"] = &Chain{Name: "forward", Hook: &Hook{Forward, 5}, Comment: "Entry", Rules: []Rule{
		{Matches: []Match{CtEstablished{}}, Verdict: Verdict{Kind: Accept}, Comment: "known connections"},
		{Matches: []Match{AddrVerdict{Dst, V4, "ingress4"}}},
	}}
	r.Chains["empty"] = &Chain{Name: "empty"}
	r.Chains["ingress/shop"] = &Chain{Name: "ingress/shop", Comment: "policy shop/allow", Rules: everyRule()}
	return r
}

func everyRule() []Rule {
	accept := Verdict{Kind: Accept}
	var rules []Rule
	for _, m := range []Match{
		LocalSource{}, NotUnicast{}, BroadcastDst{}, OnBridge{"cni0"}, NotSYN{}, ICMPv6Types{133, 137}, ICMPv6Types{0, 255}, ICMPv6Types{128, 128},
		InPrefix{Src, prefix("10.0.0.0/8")}, InPrefix{Dst, prefix("10.0.0.1/32")}, InPrefix{Src, prefix("0.0.0.0/0")},
		InPrefix{Dst, prefix("fd00::/64")}, InPrefix{Src, prefix("::/0")},
		InSet{Src, V4, "blocks4"}, InSet{Dst, V4, "pods4"}, InSet{Src, V6, "all6"}, InSet{Src, V6, "pods6"},
		DstPort{6, 80, 80}, DstPort{17, 1000, 2000}, DstPort{132, 0, 65535},
		DstAddrPortInSet{V4, 6, "web4"}, DstAddrPortInSet{V6, 132, "web6"},
		AddrPairInSet{V4, "pairs4"}, AddrPairInSet{V6, "pairs6"},
		IsProtocol{1}, IsProtocol{58}, IsProtocol{6}, IsProtocol{0}, IsProtocol{255},
	} {
		rules = append(rules, Rule{Matches: []Match{m}, Verdict: accept})
	}
	return append(rules,
		Rule{Matches: []Match{IsFamily{V4}, LocalSource{}}, Verdict: Verdict{Jump, "empty"}, Comment: "rule 1"},
		Rule{Matches: []Match{IsFamily{V6}, LocalSource{}}, Verdict: Verdict{Goto, "empty"}},
		Rule{Matches: []Match{PortVerdict{"ports"}}, Comment: strings.Repeat("é", MaxComment/2)},
		Rule{Verdict: Verdict{Kind: Return}},
		Rule{},
		Rule{Verdict: Verdict{Kind: Drop}, Comment: "isolated"},
	)
}

const everyText = `table inet t {
	set all6 {
		type ipv6_addr
		flags interval
		elements = { ::/0 }
	}

	set blocks4 {
		type ipv4_addr
		flags interval
		comment "10.0.0.0/8 except 10.1.0.0/16"
		elements = {
			9.0.0.1,
			10.0.0.0/16,
			10.2.0.0-10.2.0.5,
			255.0.0.0/8
		}
	}

	map ingress4 {
		type ipv4_addr : verdict
		elements = {
			10.0.0.1 : jump ingress/shop,
			10.0.0.2 : goto ingress/shop,
			10.0.0.3 : return,
			10.0.0.4 : continue
		}
	}

	set pairs4 {
		type ipv4_addr . ipv4_addr
		elements = { 10.0.0.1 . 10.0.0.1 }
	}

	set pairs6 {
		type ipv6_addr . ipv6_addr
		elements = { fd00::1 . fd00::2 }
	}

	set pods4 {
		type ipv4_addr
		elements = {
			10.0.0.9,
			10.0.0.10
		}
	}

	set pods6 {
		type ipv6_addr
	}

	map ports {
		type inet_proto . inet_service : verdict
		elements = {
			tcp . 443 : drop,
			udp . 53 : accept,
			sctp . 1 : accept
		}
	}

	set web4 {
		type ipv4_addr . inet_service
		elements = {
			10.0.0.1 . 80,
			10.0.0.1 . 8080
		}
	}

	set web6 {
		type ipv6_addr . inet_service
		elements = { fd00::1 . 80 }
	}

	chain forward {
		comment "Entry"
		type filter hook forward priority 5; policy accept;
		ct state established,related accept comment "known connections"
		ip daddr vmap @ingress4
	}

	chain output {
		type filter hook output priority -5; policy accept;
	}

	chain empty {
	}

	chain ingress/shop {
		comment "policy shop/allow"
		fib saddr type local accept
		meta pkttype != host accept
		fib daddr type broadcast accept
		iifname "cni0" oifname "cni0" accept
		tcp flags & (fin | syn | rst | ack) != syn accept
		icmpv6 type 133-137 accept
		icmpv6 type 0-255 accept
		icmpv6 type 128 accept
		ip saddr 10.0.0.0/8 accept
		ip daddr 10.0.0.1 accept
		ip saddr 0.0.0.0/0 accept
		ip6 daddr fd00::/64 accept
		ip6 saddr ::/0 accept
		ip saddr @blocks4 accept
		ip daddr @pods4 accept
		ip6 saddr @all6 accept
		ip6 saddr @pods6 accept
		tcp dport 80 accept
		udp dport 1000-2000 accept
		sctp dport 0-65535 accept
		ip daddr . tcp dport @web4 accept
		ip6 daddr . sctp dport @web6 accept
		ip saddr . ip daddr @pairs4 accept
		ip6 saddr . ip6 daddr @pairs6 accept
		meta l4proto icmp accept
		meta l4proto ipv6-icmp accept
		meta l4proto tcp accept
		meta l4proto 0 accept
		meta l4proto 255 accept
		meta nfproto ipv4 fib saddr type local jump empty comment "rule 1"
		meta nfproto ipv6 fib saddr type local goto empty
		meta l4proto . th dport vmap @ports comment "éééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééé"
		return
		continue
		drop comment "isolated"
	}
}
`

func TestText(t *testing.T) {
	if got := every().Text("t"); got != everyText {
		t.Errorf("text:\n%s", got)
	}
	var b strings.Builder
	if err := every().WriteText(&b, "t"); err != nil || b.String() != everyText {
		t.Errorf("written: %v\n%s", err, b.String())
	}
}

func TestTextOfForeign(t *testing.T) {
	r := New()
	r.Sets["s"] = &Set{Name: "s", Type: ForeignType}
	r.Chains["b"] = &Chain{Name: "b", Hook: &Hook{Point: ForeignHook}, Rules: []Rule{
		{Matches: []Match{DstPort{6, 80, 80}, Foreign{"counter\npackets"}}, Verdict: Verdict{Kind: Drop}, Comment: "x"},
	}}
	want := `table inet t {
	# foreign set s

	chain b {
		# foreign base chain
		# tcp dport 80 foreign: counter packets drop comment "x"
	}
}
`
	if got := r.Text("t"); got != want {
		t.Errorf("text:\n%s", got)
	}
}

func TestDifferenceIsReadable(t *testing.T) {
	a, b := every(), every()
	if d := a.Difference(b); d != "" || !a.Equal(b) {
		t.Fatalf("difference of equals:\n%s", d)
	}
	delete(b.Sets["pods4"].Elems, Elem{A: addr("10.0.0.9")})
	b.Sets["ingress4"].Elems[Elem{A: addr("10.0.0.1")}] = Verdict{Kind: Drop}
	b.Sets["web6"].Type = Addr6
	b.Chains["forward"].Rules = b.Chains["forward"].Rules[:1]
	b.Chains["output"].Hook.Priority = 0
	delete(b.Chains, "empty")
	want := `- set ingress4: 10.0.0.1 : jump ingress/shop
+ set ingress4: 10.0.0.1 : drop
- set pods4: 10.0.0.9
- set web6 (ipv6_addr . inet_service, interval false, verdicts false, 1 elements)
+ set web6 (ipv6_addr, interval false, verdicts false, 1 elements)
- chain empty (0 rules)
- chain forward rule 1: ip daddr vmap @ingress4
- chain output hook output priority -5 (0 rules)
+ chain output hook output priority 0 (0 rules)
`
	if got := a.Difference(b); got != want || a.Equal(b) {
		t.Errorf("difference:\n%s", got)
	}
}
