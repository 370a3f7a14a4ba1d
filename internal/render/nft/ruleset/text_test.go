package ruleset_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/netpol-agent/netpol-agent/internal/render/nft/ruleset"
	"github.com/netpol-agent/netpol-agent/test/nft/gen"
	"github.com/netpol-agent/netpol-agent/test/nft/tool"
)

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
		meta pkttype != host continue comment "éééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééé"
		return
		continue
		drop comment "isolated"
	}
}
`

func TestText(t *testing.T) {
	if got := gen.Every().Text("t"); got != everyText {
		t.Errorf("text:\n%s", got)
	}
}

func TestTextOfForeign(t *testing.T) {
	r := ruleset.New()
	r.Sets["s"] = &ruleset.Set{Name: "s", Type: ruleset.ForeignType}
	r.Chains["b"] = &ruleset.Chain{Name: "b", Hook: &ruleset.Hook{Point: ruleset.ForeignHook}, Rules: []ruleset.Rule{
		{Matches: []ruleset.Match{ruleset.DstPort{Protocol: 6, First: 80, Last: 80}, ruleset.Foreign{Note: "counter\npackets"}}, Verdict: ruleset.Verdict{Kind: ruleset.Drop}, Comment: "x"},
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

func TestRandomTextLoads(t *testing.T) {
	nft := tool.New(t)
	random := rapid.Custom(func(t *rapid.T) *ruleset.Ruleset { return gen.Ruleset(t, false) })
	for seed := range 40 {
		text := random.Example(seed).Text("t")
		if err := nft(text, "-c"); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
	}
}
