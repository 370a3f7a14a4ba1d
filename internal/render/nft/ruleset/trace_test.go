package ruleset

import (
	"fmt"
	"strings"
	"testing"
)

// chains makes a ruleset of chains written in short: "name: rule; rule", where a rule is a verdict, or words
// that name a match before it.
func chains(texts ...string) *Ruleset {
	r := New()
	for _, text := range texts {
		name, body, _ := strings.Cut(text, ": ")
		c := &Chain{Name: name}
		if hook, ok := map[string]*Hook{
			"forward": {Forward, 5}, "early": {Forward, -5}, "output": {Output, 5},
		}[name]; ok {
			c.Hook = hook
		}
		for i, rule := range strings.Split(body, "; ") {
			kinds := map[string]VerdictKind{"accept": Accept, "drop": Drop, "return": Return, "continue": Continue, "jump": Jump, "goto": Goto}
			words := strings.Fields(rule)
			if len(words) == 0 {
				continue
			}
			v := Verdict{Kind: kinds[words[0]]}
			if len(words) > 1 {
				v.Chain = words[1]
			}
			c.Rules = append(c.Rules, Rule{Verdict: v, Comment: fmt.Sprintf("%s%d", name, i)})
		}
		r.Chains[name] = c
	}
	return r
}

func TestTraceChains(t *testing.T) {
	for _, c := range []struct {
		name   string
		chains []string
		want   VerdictKind
		steps  string // comments of the steps, "policy" at the end of a base chain
	}{
		{"no chain", nil, Accept, ""},
		{"empty chain", []string{"forward: "}, Accept, "policy"},
		{"other hook", []string{"output: drop"}, Accept, ""},
		{"first verdict", []string{"forward: continue; drop; accept"}, Drop, "forward0 forward1"},
		{"return from a base chain", []string{"forward: return; drop"}, Accept, "forward0 policy"},
		{"jump comes back", []string{"forward: jump a; drop", "a: continue"}, Drop, "forward0 a0 forward1"},
		{"return comes back", []string{"forward: jump a; drop", "a: return; accept"}, Drop, "forward0 a0 forward1"},
		{"accept does not come back", []string{"forward: jump a; drop", "a: accept"}, Accept, "forward0 a0"},
		{"goto does not come back", []string{"forward: goto a; drop", "a: continue"}, Accept, "forward0 a0 policy"},
		{"return after goto", []string{"forward: goto a; drop", "a: return; drop"}, Accept, "forward0 a0 policy"},
		{"goto below a jump comes back behind the jump",
			[]string{"forward: jump a; drop", "a: goto b; accept", "b: continue"}, Drop, "forward0 a0 b0 forward1"},
		{"jump below a goto comes back to the goto's chain",
			[]string{"forward: goto a; drop", "a: jump b; accept", "b: "}, Accept, "forward0 a0 a1"},
		{"accept ends one base chain", []string{"early: accept", "forward: drop"}, Drop, "early0 forward0"},
		{"drop ends all", []string{"early: drop", "forward: accept"}, Drop, "early0"},
		{"policy ends one base chain", []string{"early: ", "forward: drop"}, Drop, "policy forward0"},
		{"dangling jump", []string{"forward: jump none; accept"}, Drop, "forward0"},
		{"loop", []string{"forward: jump a", "a: jump a"}, Drop, strings.TrimSpace("forward0" + strings.Repeat(" a0", 16))},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, steps := chains(c.chains...).Trace(Forward, Packet{Src: addr("10.0.0.1"), Dst: addr("10.0.0.2")})
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
	got, _ := chains("forward: goto a", "a: goto b", "b: goto a").Trace(Forward, Packet{})
	if got.Kind != Drop {
		t.Errorf("%s", got)
	}
}

func TestTraceMatches(t *testing.T) {
	var (
		v4   = Packet{Src: addr("10.0.0.1"), Dst: addr("10.2.0.5")}
		v6   = Packet{Src: addr("fd00::1"), Dst: addr("fd00::2")}
		with = func(p Packet, protocol uint8, port uint16) Packet {
			p.Protocol, p.DstPort = protocol, port
			return p
		}
		tcp4 = with(v4, protoTCP, 80)
		tcp6 = with(v6, protoTCP, 80)
	)
	syn, known, local, solicitation := tcp4, tcp4, tcp4, with(v6, protoICMPv6, 80)
	syn.SYN, known.Established, local.LocalSource, solicitation.ICMPType = true, true, true, 135
	type packets []Packet
	for _, c := range []struct {
		match   Match
		yes, no packets
	}{
		{CtEstablished{}, packets{known}, packets{tcp4}},
		{IsFamily{V4}, packets{v4}, packets{v6}},
		{IsProtocol{protoTCP}, packets{tcp4, tcp6}, packets{v4}},
		{InPrefix{Src, prefix("10.0.0.0/24")}, packets{v4}, packets{v6}},
		{InPrefix{Dst, prefix("10.0.0.0/24")}, nil, packets{v4}},
		{InPrefix{Dst, prefix("0.0.0.0/0")}, packets{v4}, packets{v6}},
		{InPrefix{Dst, prefix("::/0")}, packets{v6}, packets{v4}},
		{DstPort{protoTCP, 80, 80}, packets{tcp4, tcp6}, packets{with(v4, protoTCP, 81), with(v4, protoUDP, 80)}},
		{DstPort{protoUDP, 80, 90}, packets{with(v4, protoUDP, 80), with(v4, protoUDP, 90)}, packets{with(v4, protoUDP, 91)}},
		{DstPort{protoICMP, 80, 80}, nil, packets{with(v4, protoICMP, 80)}},
		{LocalSource{}, packets{local}, packets{tcp4}},
		{NotSYN{}, packets{tcp4, tcp6}, packets{syn, with(v4, protoUDP, 80)}},
		{ICMPv6Types{133, 137}, packets{solicitation}, packets{with(v6, protoICMPv6, 0), with(v4, protoICMP, 0)}},
		{InSet{Dst, V4, "blocks4"}, packets{v4}, packets{v6}},
		{InSet{Src, V4, "pods4"}, nil, packets{v4}},
		{InSet{Src, V6, "all6"}, packets{v6}, packets{v4}},
		{InSet{Src, V4, "none"}, nil, packets{v4}},
		{DstAddrPortInSet{V6, protoTCP, "web6"}, packets{{Dst: addr("fd00::1"), Protocol: protoTCP, DstPort: 80}},
			packets{tcp6, {Dst: addr("fd00::1"), Protocol: protoUDP, DstPort: 80}, {Dst: addr("fd00::1"), Protocol: protoTCP, DstPort: 81}}},
		{DstAddrPortInSet{V6, protoICMP, "web6"}, nil, packets{{Dst: addr("fd00::1"), Protocol: protoICMP, DstPort: 80}}},
		{AddrPairInSet{V6, "pairs6"}, packets{v6}, packets{v4, {Src: addr("fd00::2"), Dst: addr("fd00::1")}}},
		{Foreign{}, nil, packets{v4, v6}},
		{nil, nil, packets{v4}},
	} {
		r := every()
		r.Chains["forward"].Rules = []Rule{{Matches: []Match{c.match}, Verdict: Verdict{Kind: Drop}}}
		for want, ps := range map[VerdictKind]packets{Drop: c.yes, Accept: c.no} {
			for _, p := range ps {
				if got, _ := r.Trace(Forward, p); got.Kind != want {
					t.Errorf("%#v of %+v: %s", c.match, p, got)
				}
			}
		}
	}
}

func TestTraceMaps(t *testing.T) {
	r := every()
	r.Chains["forward"].Rules = []Rule{
		{Matches: []Match{AddrVerdict{Dst, V4, "ingress4"}}, Comment: "by pod"},
		{Verdict: Verdict{Kind: Drop}, Comment: "end"},
	}
	r.Chains["ingress/shop"].Rules = []Rule{
		{Matches: []Match{PortVerdict{"ports"}}, Comment: "by port"},
		{Verdict: Verdict{Kind: Continue}, Comment: "behind"},
	}
	for _, c := range []struct {
		dst      string
		protocol uint8
		port     uint16
		want     VerdictKind
		steps    string
	}{
		{"10.0.0.1", protoUDP, 53, Accept, `chain forward rule 0: map ingress4, 10.0.0.1: jump ingress/shop (by pod)
chain ingress/shop rule 0: map ports, udp . 53: accept (by port)
`},
		{"10.0.0.1", protoTCP, 443, Drop, `chain forward rule 0: map ingress4, 10.0.0.1: jump ingress/shop (by pod)
chain ingress/shop rule 0: map ports, tcp . 443: drop (by port)
`},
		{"10.0.0.1", protoTCP, 53, Drop, `chain forward rule 0: map ingress4, 10.0.0.1: jump ingress/shop (by pod)
chain ingress/shop rule 1: continue (behind)
chain forward rule 1: drop (end)
`},
		{"10.0.0.1", protoICMP, 53, Drop, `chain forward rule 0: map ingress4, 10.0.0.1: jump ingress/shop (by pod)
chain ingress/shop rule 1: continue (behind)
chain forward rule 1: drop (end)
`},
		{"10.0.0.2", protoTCP, 53, Accept, `chain forward rule 0: map ingress4, 10.0.0.2: goto ingress/shop (by pod)
chain ingress/shop rule 1: continue (behind)
chain forward policy: accept
`},
		{"10.0.0.3", protoTCP, 53, Accept, `chain forward rule 0: map ingress4, 10.0.0.3: return (by pod)
chain forward policy: accept
`},
		{"10.0.0.4", protoTCP, 53, Drop, `chain forward rule 0: continue (by pod)
chain forward rule 1: drop (end)
`},
		{"10.0.0.5", protoTCP, 53, Drop, "chain forward rule 1: drop (end)\n"},
		{"fd00::5", protoTCP, 53, Drop, "chain forward rule 1: drop (end)\n"},
	} {
		src := addr("10.0.0.9")
		if FamilyOf(addr(c.dst)) == V6 {
			src = addr("fd00::9")
		}
		got, steps := r.Trace(Forward, Packet{Src: src, Dst: addr(c.dst), Protocol: c.protocol, DstPort: c.port})
		text := ""
		for _, s := range steps {
			text += s.String() + "\n"
		}
		if got.Kind != c.want || text != c.steps {
			t.Errorf("%s %d: %s after\n%s", c.dst, c.port, got, text)
		}
	}
}
