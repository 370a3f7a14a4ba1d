package evaluator

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/test/programs"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// web is a program in which ns/web is isolated in ingress by ns/allow and ns/deny.
func web() *program.Program {
	p := program.New()
	p.NodeAddrs[addr("192.168.0.1")] = struct{}{}
	p.Sets["clients"] = &program.Set{ID: "clients", Members: map[program.Member]struct{}{{Addr: addr("10.0.0.2")}: {}}}
	p.Policies[programs.Ref("ns/allow")] = &program.Policy{Ref: programs.Ref("ns/allow"), Ingress: []program.Rule{{
		Verdict: program.Accept, Index: 3,
		Peers: program.Peers{Sets: []program.SetID{"clients"}},
		Ports: program.Ports{List: []program.Port{{Protocol: program.TCP, First: 80, Last: 80}}},
	}}}
	p.Policies[programs.Ref("ns/deny")] = &program.Policy{Ref: programs.Ref("ns/deny")}
	programs.Denying(p, "ingress:both", program.Ingress, "ns/allow", "ns/deny")
	programs.Denying(p, "ingress:deny", program.Ingress, "ns/deny")
	p.Locals[addr("10.0.0.1")] = &program.Local{Pods: []string{"ns/web"}, Ingress: []program.StackID{"ingress:both"}}
	p.Locals[addr("10.0.0.2")] = &program.Local{Pods: []string{"ns/client"}}
	p.Locals[addr("10.0.0.3")] = &program.Local{Pods: []string{"ns/dark"}, Ingress: []program.StackID{"ingress:deny"}}
	return p
}

// TestReasons expects the sentences that operators read.
func TestReasons(t *testing.T) {
	for _, c := range []struct {
		name, src, dst string
		proto          uint8
		port           uint16
		verdict        program.Verdict
		reasons        []string
	}{
		{"allowed", "10.0.0.2", "10.0.0.1", program.TCP, 80, program.Accept, []string{
			"egress of ns/client: no policy isolates it", "ingress of ns/web: allowed by ns/allow ingress[3]"}},
		{"wrong port", "10.0.0.2", "10.0.0.1", program.TCP, 81, program.Deny, []string{
			"egress of ns/client: no policy isolates it",
			"ingress of ns/web: denied: isolated by ns/allow, ns/deny, and no rule allows it",
			"  ns/allow ingress[3]: the peer matches, the port does not"}},
		{"wrong peer", "10.9.9.9", "10.0.0.1", program.TCP, 80, program.Deny, []string{
			"ingress of ns/web: denied: isolated by ns/allow, ns/deny, and no rule allows it",
			"  ns/allow ingress[3]: the port matches, the peer does not"}},
		{"both wrong", "10.9.9.9", "10.0.0.1", program.UDP, 80, program.Deny, []string{
			"ingress of ns/web: denied: isolated by ns/allow, ns/deny, and no rule allows it",
			"  ns/allow ingress[3]: peer and port do not match"}},
		{"no rule", "10.9.9.9", "10.0.0.3", program.TCP, 80, program.Deny, []string{
			"ingress of ns/dark: denied: isolated by ns/deny, and no rule allows it", "  it has no ingress rule at all"}},
		{"itself", "10.0.0.3", "10.0.0.3", program.TCP, 80, program.Accept, []string{"a pod always reaches itself"}},
		{"node", "192.168.0.1", "10.0.0.3", program.TCP, 80, program.Accept, []string{"a pod and the node it runs on always reach each other"}},
		{"strangers", "10.9.9.9", "10.9.9.8", program.TCP, 80, program.Accept, []string{"neither end is a pod that this node judges"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := Evaluate(web(), Packet{Src: addr(c.src), Dst: addr(c.dst), Protocol: c.proto, DstPort: c.port})
			if r.Verdict != c.verdict || !slices.Equal(r.Reasons(), c.reasons) {
				t.Errorf("%v %q, want %v %q", r.Verdict, r.Reasons(), c.verdict, c.reasons)
			}
		})
	}
}

// TestUnknownStackDenies expects an incomplete program to stay closed.
func TestUnknownStackDenies(t *testing.T) {
	p := web()
	delete(p.Stacks, "ingress:deny")
	if r := Evaluate(p, Packet{Src: addr("10.9.9.9"), Dst: addr("10.0.0.3"), Protocol: program.TCP}); r.Verdict != program.Deny {
		t.Errorf("%v, want deny", r.Verdict)
	}
}
