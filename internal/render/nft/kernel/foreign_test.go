package kernel

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/netpol-agent/netpol-agent/internal/render/nft/change"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/ruleset"
	"github.com/netpol-agent/netpol-agent/test/nft/compare"
)

// TestForeignChangesAreSeenAndRepaired changes our table with the nft tool. Reading must show the change, and the
// difference from what we want must undo it.
func TestForeignChangesAreSeenAndRepaired(t *testing.T) {
	ns := newNamespace(t)
	c := ns.open(t)
	for command, want := range map[string]string{
		"add rule inet T in/dns counter drop":                                     "foreign rule",
		"add rule inet T in/dns ip saddr != @pods4 accept":                        "foreign rule",
		"add rule inet T in/dns limit rate 1/second accept":                       "foreign rule",
		"add rule inet T in/dns meta mark set 1":                                  "foreign rule",
		"add rule inet T in/dns ct direction original accept":                     "foreign rule",
		"add rule inet T in/dns ip saddr & 255.0.255.0 == 10.0.1.0 drop":          "foreign rule",
		"add rule inet T in/dns tcp sport 80 accept":                              "foreign rule",
		"add rule inet T in/dns tcp dport { 80, 443 } accept":                     "foreign rule",
		"add rule inet T in/dns ip saddr vmap { 10.0.0.1 : drop } accept":         "foreign rule",
		"add rule inet T in/dns ip saddr { 10.0.0.1, 10.0.0.3 } accept":           "foreign rule",
		"add rule inet T in/dns jump { drop; }":                                   "foreign rule",
		"add rule inet T in/dns meta l4proto . th dport vmap { tcp . 80 : drop }": "foreign rule",
		"insert rule inet T in/web continue":                                      "foreign rule",
		"add rule inet T in/web accept":                                           "rule",
		"flush chain inet T in/web":                                               "fewer rules",
		"add chain inet T forward { policy drop; }":                               "foreign hook",
		"add chain inet T x { type filter hook input priority 0; }":               "foreign hook",
		"add chain inet T x { type route hook output priority 0; }":               "foreign hook",
		"add chain inet T x":                                                      "chain",
		"add set inet T x { type inet_service; }":                                 "foreign set",
		"add set inet T x { type ipv4_addr; size 10; }":                           "foreign set",
		"add set inet T x { type ipv4_addr; timeout 1h; }":                        "foreign set",
		"add set inet T x { type ipv4_addr; counter; }":                           "foreign set",
		"add set inet T x { type ipv4_addr . inet_service; flags interval; }":     "foreign set",
		"add map inet T x { type ipv4_addr : mark; }":                             "foreign set",
		"add map inet T x { type inet_proto . inet_service : verdict; }":          "foreign set",
		"add set inet T x { type ipv4_addr; }":                                    "set",
		"add element inet T pods4 { * }":                                          "foreign set",
		"add element inet T pods4 { 10.9.9.9 comment \"me\" }":                    "element",
		"add element inet T pods6 { fd00::3 }":                                    "element",
		"delete element inet T pods4 { 10.244.1.3 }":                              "fewer elements",
		"add element inet T block4 { 11.0.0.0/8 }":                                "element",
		"add element inet T empty6 { fd01::/16 }":                                 "element",
		"delete element inet T edges4 { 0.0.0.0-0.0.0.9 }":                        "fewer elements",
		"add element inet T dispatch4 { 10.9.9.9 : accept }":                      "element",
	} {
		t.Run(command, func(t *testing.T) {
			rs := sample()
			table := mustLoad(t, c, rs)
			ns.must(t, "nft", strings.Replace(command, " T ", " "+table+" ", 1))
			got := mustRead(t, c, table)
			if seen := whatIsForeign(rs, got); seen != want {
				t.Errorf("saw %q, want %q\n%s", seen, want, compare.Difference(rs, got))
			}
			update, prune := change.Diff(table, got, rs, nil)
			commit(t, c, update.Ops...)
			commit(t, c, prune.Ops...)
			if d := compare.Difference(rs, mustRead(t, c, table)); d != "" {
				t.Errorf("not repaired:\n%s", d)
			}
			commit(t, c, change.DelTable{Table: table})
		})
	}
}

// whatIsForeign returns how got differs from rs.
func whatIsForeign(rs, got *ruleset.Ruleset) string {
	rules, elems := func(r *ruleset.Ruleset) (n int) {
		for _, ch := range r.Chains {
			n += len(ch.Rules)
		}
		return n
	}, func(r *ruleset.Ruleset) (n int) {
		for _, s := range r.Sets {
			n += len(s.Elems)
		}
		return n
	}
	for _, ch := range got.Chains {
		if ch.Hook != nil && ch.Hook.Point == ruleset.ForeignHook {
			return "foreign hook"
		}
		for _, r := range ch.Rules {
			if slices.ContainsFunc(r.Matches, func(m ruleset.Match) bool { _, is := m.(ruleset.Foreign); return is }) {
				return "foreign rule"
			}
		}
	}
	for s := range maps.Values(got.Sets) {
		if s.Type == ruleset.ForeignType {
			return "foreign set"
		}
	}
	switch {
	case len(got.Chains) != len(rs.Chains):
		return "chain"
	case len(got.Sets) != len(rs.Sets):
		return "set"
	case rules(got) > rules(rs):
		return "rule"
	case rules(got) < rules(rs):
		return "fewer rules"
	case elems(got) > elems(rs):
		return "element"
	case elems(got) < elems(rs):
		return "fewer elements"
	}
	return ""
}

// TestForeignTable checks the tables as a whole.
func TestForeignTable(t *testing.T) {
	ns := newNamespace(t)
	c := ns.open(t)
	table := mustLoad(t, c, sample())
	ns.must(t, "nft", "add table inet "+table+" { flags dormant; }")
	if _, _, err := c.Read(table); !errors.Is(err, ErrForeignTable) {
		t.Errorf("dormant: %v", err)
	}
	commit(t, c, append([]change.Op{change.DelTable{Table: table}}, load(table, sample()).Ops...)...)
	if d := compare.Difference(sample(), mustRead(t, c, table)); d != "" {
		t.Error(d)
	}
	// Other tables of the same name, and their content, are not ours.
	ns.must(t, "nft", "add table ip "+table)
	ns.must(t, "nft", "add chain ip "+table+" x")
	ns.must(t, "nft", "add table inet other")
	ns.must(t, "nft", "add chain inet other forward { type filter hook forward priority 0; policy drop; }")
	ns.must(t, "nft", "add set inet other pods4 { type inet_service; }")
	if d := compare.Difference(sample(), mustRead(t, c, table)); d != "" {
		t.Error(d)
	}
	if rs, found, err := c.Read("nosuch"); rs != nil || found || err != nil {
		t.Errorf("no table: %v %t %v", rs, found, err)
	}
}

// TestRulesOfTheNftTool checks the decoding with rules that the nft tool encoded: they are read as ours.
func TestRulesOfTheNftTool(t *testing.T) {
	ns := newNamespace(t)
	c := ns.open(t)
	rs := sample()
	table := mustLoad(t, c, rs)
	in := func(e ruleset.End, p string) ruleset.Match { return ruleset.InPrefix{End: e, Prefix: cidr(p)} }
	port := func(n uint16) ruleset.Match { return ruleset.DstPort{Protocol: 6, First: n, Last: n} }
	want := map[string]ruleset.Rule{
		"ip saddr @pods4 accept comment \"by hand\"": rule(accept(), "by hand", ruleset.InSet{Family: ruleset.V4, Set: "pods4"}),
		"ip6 daddr @block6 drop":                     rule(drop(), "", ruleset.InSet{End: ruleset.Dst, Family: ruleset.V6, Set: "block6"}),
		"tcp dport 80 ip saddr 10.0.0.0/8 return":    rule(ruleset.Verdict{Kind: ruleset.Return}, "", port(80), in(ruleset.Src, "10.0.0.0/8")),
		"ip saddr 10.32.0.0/11 ip daddr 10.1.2.0/24 tcp dport 443 accept": rule(accept(), "",
			in(ruleset.Src, "10.32.0.0/11"), in(ruleset.Dst, "10.1.2.0/24"), port(443)),
		"ip6 saddr fd00::/61 ip6 daddr fd00::1 goto in/web": rule(goTo("in/web"), "", in(ruleset.Src, "fd00::/61"), in(ruleset.Dst, "fd00::1/128")),
		"ip daddr . tcp dport @np4 accept":                  rule(accept(), "", ruleset.DstAddrPortInSet{Family: ruleset.V4, Protocol: 6, Set: "np4"}),
		"ip6 daddr . udp dport @np6 accept":                 rule(accept(), "", ruleset.DstAddrPortInSet{Family: ruleset.V6, Protocol: 17, Set: "np6"}),
		"ip saddr . ip daddr @pair4 accept":                 rule(accept(), "", ruleset.AddrPairInSet{Family: ruleset.V4, Set: "pair4"}),
		"ip6 saddr . ip6 daddr @pair6 accept":               rule(accept(), "", ruleset.AddrPairInSet{Family: ruleset.V6, Set: "pair6"}),
		"ip daddr vmap @dispatch4":                          rule(ruleset.Verdict{}, "", ruleset.AddrVerdict{End: ruleset.Dst, Family: ruleset.V4, Map: "dispatch4"}),
		"ct state established,related accept":               rule(accept(), "", ruleset.CtEstablished{}),
		"fib saddr type local accept":                       rule(accept(), "", ruleset.LocalSource{}),
		"tcp flags & (fin|syn|rst|ack) != syn accept":       rule(accept(), "", ruleset.NotSYN{}),
		"icmpv6 type 135 accept":                            rule(accept(), "", ruleset.ICMPv6Types{First: 135, Last: 135}),
		"meta nfproto ipv6 meta l4proto sctp drop":          rule(drop(), "", ruleset.IsFamily{Family: ruleset.V6}, ruleset.IsProtocol{Protocol: 132}),
	}
	for text, r := range want {
		ns.must(t, "nft", "add chain inet "+table+" probe")
		ns.must(t, "nft", "add rule inet "+table+" probe "+text)
		got := mustRead(t, c, table).Chains["probe"]
		a := &ruleset.Ruleset{Chains: map[string]*ruleset.Chain{"probe": got}}
		b := &ruleset.Ruleset{Chains: map[string]*ruleset.Chain{"probe": {Name: "probe", Rules: []ruleset.Rule{r}}}}
		if d := compare.Difference(b, a); d != "" {
			t.Errorf("%s:\n%s", text, d)
		}
		ns.must(t, "nft", "flush chain inet "+table+" probe")
	}
}
