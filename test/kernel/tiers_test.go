package kernel

import (
	"net/netip"
	"testing"

	"github.com/netpol-agent/netpol-agent/internal/compiler/evaluator"
	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/test/kernel/lab"
	"github.com/netpol-agent/netpol-agent/test/programs"
)

// tiered returns a program in which a pod is judged by two tiers: one of ordered rules with all verdicts, which passes
// on what matches nothing, and one of accepts alone. NetworkPolicy needs only the second one.
func tiered() *program.Program {
	p := program.New()
	from := func(prefix string) program.Peers {
		return program.Peers{Blocks: []program.Block{{CIDR: netip.MustParsePrefix(prefix)}}}
	}
	all := program.Ports{Any: true}
	p.Policies[programs.Ref("admin")] = &program.Policy{Ref: programs.Ref("admin"), Ingress: []program.Rule{
		{Verdict: program.Pass, Index: 0, Peers: from("198.18.0.0/24"), Ports: all},
		{Verdict: program.Deny, Index: 1, Peers: from("198.18.0.0/16"), Ports: program.Ports{List: []program.Port{{Protocol: program.TCP, First: 80, Last: 89}}}},
		{Verdict: program.Accept, Index: 2, Peers: from("198.18.0.0/15"), Ports: program.Ports{List: []program.Port{{Protocol: program.TCP, First: 0, Last: 65535}}}},
	}}
	p.Policies[programs.Ref("shop/web")] = &program.Policy{Ref: programs.Ref("shop/web"), Ingress: []program.Rule{
		{Verdict: program.Accept, Index: 0, Peers: from("198.18.0.0/25"), Ports: all},
		{Verdict: program.Accept, Index: 1, Peers: from("203.0.113.0/24"), Ports: all},
	}}
	admin := program.Tier{Policies: programs.Refs("admin"), Default: program.Pass}
	programs.Stack(p, "both", program.Ingress, admin, program.Tier{Policies: programs.Refs("shop/web")})
	programs.Stack(p, "admin", program.Ingress, admin)
	p.Locals[netip.MustParseAddr("10.0.0.1")] = &program.Local{Pods: []string{"shop/web"}, Ingress: []program.StackID{"both"}}
	p.Locals[netip.MustParseAddr("10.0.0.2")] = &program.Local{Pods: []string{"shop/admin"}, Ingress: []program.StackID{"admin"}}
	p.Locals[netip.MustParseAddr("10.0.0.3")] = &program.Local{Pods: []string{"shop/one", "shop/two"}, Ingress: []program.StackID{"admin", "both"}}
	return p
}

// TestKernelTiers shows that the kernel tries tiers in order, the rules of a tier in order, and every stack of an
// address.
func TestKernelTiers(t *testing.T) {
	r := lab.NewRange(t, randomPods, randomUplink)
	p := tiered()
	if _, err := openBackend(t, r.Node).renderer(0).Sync(p); err != nil {
		t.Fatal(err)
	}
	const accept, deny = true, false
	for i, c := range []struct {
		src  string
		port uint16
		// web, admin and shared are the verdicts of the three addresses.
		web, admin, shared bool
	}{
		{"198.18.0.1", 80, accept, accept, accept}, // passed on, then accepted
		{"198.18.0.200", 80, deny, accept, deny},   // passed on, then matched by no rule
		{"198.18.1.1", 80, deny, deny, deny},       // denied before it could be accepted
		{"198.18.1.1", 90, accept, accept, accept},
		{"198.19.0.1", 80, accept, accept, accept},
		{"203.0.113.1", 80, accept, accept, accept}, // no admin rule
		{"192.0.2.1", 80, deny, accept, deny},
	} {
		for k, pass := range []bool{c.web, c.admin, c.shared} {
			dst := netip.AddrFrom4([4]byte{10, 0, 0, byte(k + 1)})
			packet := lab.Packet{Src: netip.MustParseAddr(c.src), Dst: dst, Protocol: lab.TCP, SrcPort: uint16(20000 + 10*i + k), DstPort: c.port, ID: uint16(1 + 10*i + k)}
			res := evaluator.Evaluate(p, evaluator.Packet{Src: packet.Src, Dst: dst, Protocol: lab.TCP, DstPort: c.port})
			if (res.Verdict == program.Accept) != pass {
				t.Errorf("%s: the evaluator disagrees: %v", packet, res.Reasons())
			}
			if err := r.Shoot(packet); err != nil {
				t.Fatal(err)
			}
			s, err := r.Witness.Await(t.Context(), 1, func(seen *lab.Packet) bool { return seen.Key() == packet.Key() })
			if err != nil || (s.After > 0) != pass {
				t.Errorf("%s: must pass: %t, seen %+v, %v", packet, pass, s, err)
			}
		}
	}
}
