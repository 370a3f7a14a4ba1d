package trace_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/ruleset"
	"github.com/netpol-agent/netpol-agent/test/nft/gen"
	"github.com/netpol-agent/netpol-agent/test/nft/trace"
)

func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }
func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// chains returns a ruleset of chains in short form: "name: rule; rule", where a rule is a verdict, or a verdict after
// words that name a match.
func chains(texts ...string) *ruleset.Ruleset {
	r := ruleset.New()
	for _, text := range texts {
		name, body, _ := strings.Cut(text, ": ")
		c := &ruleset.Chain{Name: name}
		if hook, ok := map[string]*ruleset.Hook{
			"forward": {Point: ruleset.Forward, Priority: 5}, "early": {Point: ruleset.Forward, Priority: -5}, "output": {Point: ruleset.Output, Priority: 5},
		}[name]; ok {
			c.Hook = hook
		}
		for i, rule := range strings.Split(body, "; ") {
			kinds := map[string]ruleset.VerdictKind{"accept": ruleset.Accept, "drop": ruleset.Drop, "return": ruleset.Return, "continue": ruleset.Continue, "jump": ruleset.Jump, "goto": ruleset.Goto}
			words := strings.Fields(rule)
			if len(words) == 0 {
				continue
			}
			v := ruleset.Verdict{Kind: kinds[words[0]]}
			if len(words) > 1 {
				v.Chain = words[1]
			}
			c.Rules = append(c.Rules, ruleset.Rule{Verdict: v, Comment: fmt.Sprintf("%s%d", name, i)})
		}
		r.Chains[name] = c
	}
	return r
}

func TestTraceChains(t *testing.T) {
	for _, c := range []struct {
		name   string
		chains []string
		want   ruleset.VerdictKind
		steps  string // comments of the steps, "policy" at the end of a base chain
	}{
		{"no chain", nil, ruleset.Accept, ""},
		{"empty chain", []string{"forward: "}, ruleset.Accept, "policy"},
		{"other hook", []string{"output: drop"}, ruleset.Accept, ""},
		{"first verdict", []string{"forward: continue; drop; accept"}, ruleset.Drop, "forward0 forward1"},
		{"return from a base chain", []string{"forward: return; drop"}, ruleset.Accept, "forward0 policy"},
		{"jump comes back", []string{"forward: jump a; drop", "a: continue"}, ruleset.Drop, "forward0 a0 forward1"},
		{"return comes back", []string{"forward: jump a; drop", "a: return; accept"}, ruleset.Drop, "forward0 a0 forward1"},
		{"accept does not come back", []string{"forward: jump a; drop", "a: accept"}, ruleset.Accept, "forward0 a0"},
		{"goto does not come back", []string{"forward: goto a; drop", "a: continue"}, ruleset.Accept, "forward0 a0 policy"},
		{"return after goto", []string{"forward: goto a; drop", "a: return; drop"}, ruleset.Accept, "forward0 a0 policy"},
		{"goto below a jump comes back behind the jump",
			[]string{"forward: jump a; drop", "a: goto b; accept", "b: continue"}, ruleset.Drop, "forward0 a0 b0 forward1"},
		{"jump below a goto comes back to the goto's chain",
			[]string{"forward: goto a; drop", "a: jump b; accept", "b: "}, ruleset.Accept, "forward0 a0 a1"},
		{"accept ends one base chain", []string{"early: accept", "forward: drop"}, ruleset.Drop, "early0 forward0"},
		{"drop ends all", []string{"early: drop", "forward: accept"}, ruleset.Drop, "early0"},
		{"policy ends one base chain", []string{"early: ", "forward: drop"}, ruleset.Drop, "policy forward0"},
		{"dangling jump", []string{"forward: jump none; accept"}, ruleset.Drop, "forward0"},
		{"loop", []string{"forward: jump a", "a: jump a"}, ruleset.Drop, strings.TrimSpace("forward0" + strings.Repeat(" a0", 16))},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, steps := trace.Trace(chains(c.chains...), ruleset.Forward, trace.Packet{Src: addr("10.0.0.1"), Dst: addr("10.0.0.2")})
			var names []string
			for _, s := range steps {
				if s.Rule < 0 {
					s.Comment = "policy"
				}
				names = append(names, s.Comment)
			}
			if got.Kind != c.want || strings.Join(names, " ") != c.steps {
				t.Errorf("%s after %q", got, names)
			}
		})
	}
}

func TestTraceEndlessGoto(t *testing.T) {
	got, _ := trace.Trace(chains("forward: goto a", "a: goto b", "b: goto a"), ruleset.Forward, trace.Packet{})
	if got.Kind != ruleset.Drop {
		t.Errorf("%s", got)
	}
}

func TestTraceMatches(t *testing.T) {
	var (
		v4   = trace.Packet{Src: addr("10.0.0.1"), Dst: addr("10.2.0.5")}
		v6   = trace.Packet{Src: addr("fd00::1"), Dst: addr("fd00::2")}
		with = func(p trace.Packet, protocol uint8, port uint16) trace.Packet {
			p.Protocol, p.DstPort = protocol, port
			return p
		}
		tcp4 = with(v4, unix.IPPROTO_TCP, 80)
		tcp6 = with(v6, unix.IPPROTO_TCP, 80)
	)
	syn, known, local, solicitation := tcp4, tcp4, tcp4, with(v6, unix.IPPROTO_ICMPV6, 80)
	syn.SYN, known.Established, local.LocalSource, solicitation.ICMPType = true, true, true, 135
	type packets []trace.Packet
	for _, c := range []struct {
		match   ruleset.Match
		yes, no packets
	}{
		{ruleset.CtEstablished{}, packets{known}, packets{tcp4}},
		{ruleset.IsFamily{Family: ruleset.V4}, packets{v4}, packets{v6}},
		{ruleset.IsProtocol{Protocol: unix.IPPROTO_TCP}, packets{tcp4, tcp6}, packets{v4}},
		{ruleset.InPrefix{End: ruleset.Src, Prefix: prefix("10.0.0.0/24")}, packets{v4}, packets{v6}},
		{ruleset.InPrefix{End: ruleset.Dst, Prefix: prefix("10.0.0.0/24")}, nil, packets{v4}},
		{ruleset.InPrefix{End: ruleset.Dst, Prefix: prefix("0.0.0.0/0")}, packets{v4}, packets{v6}},
		{ruleset.InPrefix{End: ruleset.Dst, Prefix: prefix("::/0")}, packets{v6}, packets{v4}},
		{ruleset.DstPort{Protocol: unix.IPPROTO_TCP, First: 80, Last: 80}, packets{tcp4, tcp6}, packets{with(v4, unix.IPPROTO_TCP, 81), with(v4, unix.IPPROTO_UDP, 80)}},
		{ruleset.DstPort{Protocol: unix.IPPROTO_UDP, First: 80, Last: 90}, packets{with(v4, unix.IPPROTO_UDP, 80), with(v4, unix.IPPROTO_UDP, 90)}, packets{with(v4, unix.IPPROTO_UDP, 91)}},
		{ruleset.DstPort{Protocol: unix.IPPROTO_ICMP, First: 80, Last: 80}, nil, packets{with(v4, unix.IPPROTO_ICMP, 80)}},
		{ruleset.LocalSource{}, packets{local}, packets{tcp4}},
		{ruleset.NotSYN{}, packets{tcp4, tcp6}, packets{syn, with(v4, unix.IPPROTO_UDP, 80)}},
		{ruleset.ICMPv6Types{First: 133, Last: 137}, packets{solicitation}, packets{with(v6, unix.IPPROTO_ICMPV6, 0), with(v4, unix.IPPROTO_ICMP, 0)}},
		{ruleset.InSet{End: ruleset.Dst, Family: ruleset.V4, Set: "blocks4"}, packets{v4}, packets{v6}},
		{ruleset.InSet{End: ruleset.Src, Family: ruleset.V4, Set: "pods4"}, nil, packets{v4}},
		{ruleset.InSet{End: ruleset.Src, Family: ruleset.V6, Set: "all6"}, packets{v6}, packets{v4}},
		{ruleset.InSet{End: ruleset.Src, Family: ruleset.V4, Set: "none"}, nil, packets{v4}},
		{ruleset.DstAddrPortInSet{Family: ruleset.V6, Protocol: unix.IPPROTO_TCP, Set: "web6"}, packets{{Dst: addr("fd00::1"), Protocol: unix.IPPROTO_TCP, DstPort: 80}},
			packets{tcp6, {Dst: addr("fd00::1"), Protocol: unix.IPPROTO_UDP, DstPort: 80}, {Dst: addr("fd00::1"), Protocol: unix.IPPROTO_TCP, DstPort: 81}}},
		{ruleset.DstAddrPortInSet{Family: ruleset.V6, Protocol: unix.IPPROTO_ICMP, Set: "web6"}, nil, packets{{Dst: addr("fd00::1"), Protocol: unix.IPPROTO_ICMP, DstPort: 80}}},
		{ruleset.AddrPairInSet{Family: ruleset.V6, Set: "pairs6"}, packets{v6}, packets{v4, {Src: addr("fd00::2"), Dst: addr("fd00::1")}}},
		{ruleset.Foreign{}, nil, packets{v4, v6}},
		{nil, nil, packets{v4}},
	} {
		r := gen.Every()
		r.Chains["forward"].Rules = []ruleset.Rule{{Matches: []ruleset.Match{c.match}, Verdict: ruleset.Verdict{Kind: ruleset.Drop}}}
		for want, ps := range map[ruleset.VerdictKind]packets{ruleset.Drop: c.yes, ruleset.Accept: c.no} {
			for _, p := range ps {
				if got, _ := trace.Trace(r, ruleset.Forward, p); got.Kind != want {
					t.Errorf("%#v of %+v: %s", c.match, p, got)
				}
			}
		}
	}
}

func TestTraceMaps(t *testing.T) {
	r := gen.Every()
	r.Chains["forward"].Rules = []ruleset.Rule{
		{Matches: []ruleset.Match{ruleset.AddrVerdict{End: ruleset.Dst, Family: ruleset.V4, Map: "ingress4"}}, Comment: "by pod"},
		{Verdict: ruleset.Verdict{Kind: ruleset.Drop}, Comment: "end"},
	}
	r.Chains["ingress/shop"].Rules = []ruleset.Rule{
		{Matches: []ruleset.Match{ruleset.DstPort{Protocol: unix.IPPROTO_UDP, First: 53, Last: 53}}, Verdict: ruleset.Verdict{Kind: ruleset.Accept}, Comment: "by port"},
		{Matches: []ruleset.Match{ruleset.DstPort{Protocol: unix.IPPROTO_TCP, First: 443, Last: 443}}, Verdict: ruleset.Verdict{Kind: ruleset.Drop}, Comment: "by port"},
		{Verdict: ruleset.Verdict{Kind: ruleset.Continue}, Comment: "behind"},
	}
	for _, c := range []struct {
		dst      string
		protocol uint8
		port     uint16
		want     ruleset.VerdictKind
		steps    string
	}{
		{"10.0.0.1", unix.IPPROTO_UDP, 53, ruleset.Accept, `chain forward rule 0: map ingress4, 10.0.0.1: jump ingress/shop (by pod)
chain ingress/shop rule 0: accept (by port)
`},
		{"10.0.0.1", unix.IPPROTO_TCP, 443, ruleset.Drop, `chain forward rule 0: map ingress4, 10.0.0.1: jump ingress/shop (by pod)
chain ingress/shop rule 1: drop (by port)
`},
		{"10.0.0.1", unix.IPPROTO_TCP, 53, ruleset.Drop, `chain forward rule 0: map ingress4, 10.0.0.1: jump ingress/shop (by pod)
chain ingress/shop rule 2: continue (behind)
chain forward rule 1: drop (end)
`},
		{"10.0.0.1", unix.IPPROTO_ICMP, 53, ruleset.Drop, `chain forward rule 0: map ingress4, 10.0.0.1: jump ingress/shop (by pod)
chain ingress/shop rule 2: continue (behind)
chain forward rule 1: drop (end)
`},
		{"10.0.0.2", unix.IPPROTO_TCP, 53, ruleset.Accept, `chain forward rule 0: map ingress4, 10.0.0.2: goto ingress/shop (by pod)
chain ingress/shop rule 2: continue (behind)
chain forward policy: accept
`},
		{"10.0.0.3", unix.IPPROTO_TCP, 53, ruleset.Accept, `chain forward rule 0: map ingress4, 10.0.0.3: return (by pod)
chain forward policy: accept
`},
		{"10.0.0.4", unix.IPPROTO_TCP, 53, ruleset.Drop, `chain forward rule 0: continue (by pod)
chain forward rule 1: drop (end)
`},
		{"10.0.0.5", unix.IPPROTO_TCP, 53, ruleset.Drop, "chain forward rule 1: drop (end)\n"},
		{"fd00::5", unix.IPPROTO_TCP, 53, ruleset.Drop, "chain forward rule 1: drop (end)\n"},
	} {
		src := addr("10.0.0.9")
		if program.FamilyOf(addr(c.dst)) == ruleset.V6 {
			src = addr("fd00::9")
		}
		got, steps := trace.Trace(r, ruleset.Forward, trace.Packet{Src: src, Dst: addr(c.dst), Protocol: c.protocol, DstPort: c.port})
		text := ""
		for _, s := range steps {
			text += s.String() + "\n"
		}
		if got.Kind != c.want || text != c.steps {
			t.Errorf("%s %d: %s after\n%s", c.dst, c.port, got, text)
		}
	}
}
