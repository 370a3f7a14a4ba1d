package property

import (
	"fmt"
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"github.com/netpol-agent/netpol-agent/internal/compiler/evaluator"
	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/render/nft"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/change"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/model"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/ruleset"
	"github.com/netpol-agent/netpol-agent/test/programs"
)

// TestPropertyTiers compares evaluator and rules for programs that no NetworkPolicy yields yet: several tiers,
// rules that deny or pass, any default. The compiler does not make them, so there is no oracle; both readings
// start from the program.
func TestPropertyTiers(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := tieredProgram(t)
		rules := nft.Render(p)
		model := model.New()
		load := &change.Tx{Ops: []change.Op{change.AddTable{Table: table}}}
		body, _ := change.Diff(table, ruleset.New(), rules, nil)
		load.Add(body.Ops...)
		if err := model.Apply(load); err != nil {
			t.Fatalf("the kernel would refuse: %v", err)
		}
		for range 20 {
			pkt := packet{
				Src: tierAddr(t, "src"), Dst: tierAddr(t, "dst"),
				Protocol: rapid.SampledFrom([]uint8{program.TCP, program.UDP, program.ICMP}).Draw(t, "protocol"),
				DstPort:  uint16(rapid.IntRange(79, 82).Draw(t, "port")),
			}
			res := evaluator.Evaluate(p, evaluator.Packet(pkt))
			if got, steps := traced(rules, pkt, nil); got != (res.Verdict == program.Accept) {
				t.Fatalf("packet %+v: evaluator %v, rules %v: %v\n%v\n%s", pkt, res.Verdict, got, res.Reasons(), steps, rules.Text(table))
			}
		}
	})
}

func tierAddr(t *rapid.T, name string) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 0, 0, byte(rapid.IntRange(1, 4).Draw(t, name))})
}

// tieredProgram makes a program in which 10.0.0.1 and 10.0.0.2 are local and judged by one or two stacks.
func tieredProgram(t *rapid.T) *program.Program {
	p := program.New()
	p.Sets["peers"] = &program.Set{ID: "peers", Members: map[program.Member]struct{}{{Addr: netip.MustParseAddr("10.0.0.3")}: {}}}
	for i := range 4 {
		pol := programs.Policy(p, fmt.Sprintf("ns/p%d", i))
		pol.Ingress = rapid.SliceOfN(tierRule(), 0, 3).Draw(t, "ingress")
		pol.Egress = rapid.SliceOfN(tierRule(), 0, 3).Draw(t, "egress")
	}
	for i := 1; i <= 2; i++ {
		l := &program.Local{Pods: []string{fmt.Sprintf("ns/pod%d", i)}}
		l.Ingress = tierStacks(t, p, program.Ingress, i)
		l.Egress = tierStacks(t, p, program.Egress, i)
		p.Locals[netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})] = l
	}
	return p
}

func tierStacks(t *rapid.T, p *program.Program, d program.Direction, pod int) []program.StackID {
	var ids []program.StackID
	for n := range rapid.IntRange(0, 2).Draw(t, "stacks") {
		id := program.StackID(fmt.Sprintf("%s:%d.%d", d, pod, n))
		var tiers []program.Tier
		for range rapid.IntRange(0, 3).Draw(t, "tiers") {
			tier := program.Tier{Default: tierVerdict().Draw(t, "default")}
			for i := range 4 {
				if rapid.Bool().Draw(t, "has policy") {
					tier.Policies = append(tier.Policies, programs.Ref(fmt.Sprintf("ns/p%d", i)))
				}
			}
			tiers = append(tiers, tier)
		}
		programs.Stack(p, id, d, tiers...)
		ids = append(ids, id)
	}
	return ids
}

func tierVerdict() *rapid.Generator[program.Verdict] {
	return rapid.SampledFrom([]program.Verdict{program.Accept, program.Deny, program.Pass})
}

func tierRule() *rapid.Generator[program.Rule] {
	return rapid.Custom(func(t *rapid.T) program.Rule {
		r := program.Rule{Verdict: tierVerdict().Draw(t, "verdict")}
		if r.Peers.Any = rapid.Bool().Draw(t, "any peer"); !r.Peers.Any {
			r.Peers.Sets = []program.SetID{"peers"}
			r.Peers.Blocks = []program.Block{{CIDR: netip.MustParsePrefix("10.0.0.2/32")}}
		}
		if r.Ports.Any = rapid.Bool().Draw(t, "any port"); !r.Ports.Any {
			for range rapid.IntRange(1, 5).Draw(t, "ports") {
				n := uint16(rapid.IntRange(79, 82).Draw(t, "port"))
				r.Ports.List = append(r.Ports.List, program.Port{Protocol: program.TCP, First: n, Last: n})
			}
		}
		return r
	})
}
