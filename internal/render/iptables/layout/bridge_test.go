package layout

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/render/iptables/ruleset"
	"github.com/netpol-agent/netpol-agent/test/iptfake"
)

// TestBridgeNeedsNoSets expects the family that the cluster does not use to have the rules for link-local addresses,
// but not the peers of the other family's rules.
func TestBridgeNeedsNoSets(t *testing.T) {
	p := isolated([]netip.Addr{netip.MustParseAddr("10.244.1.10")})
	p.Bridges = []string{"cni0"}
	p.Sets["s"] = &program.Set{ID: "s", Members: map[program.Member]struct{}{{Addr: netip.MustParseAddr("10.244.2.10")}: {}}}
	r := Render(p)
	if r.V6.Chains[chainBridge] == nil || r.V4.Chains[chainBridge] == nil {
		t.Errorf("no rule judges switched packets:\n%s", r.Text())
	}
	if len(r.V4.Sets) != 1 || len(r.V6.Sets) != 0 {
		t.Errorf("%d sets of IPv4, %d of IPv6", len(r.V4.Sets), len(r.V6.Sets))
	}
}

// TestBridgeSteps expects the rules of a fresh start, whatever comes and goes in whatever order.
func TestBridgeSteps(t *testing.T) {
	v4, v6 := netip.MustParseAddr("10.244.1.10"), netip.MustParseAddr("fd00::10")
	rapid.Check(t, func(t *rapid.T) {
		p, l := isolated(nil), New()
		state := ruleset.NewState()
		l.Update(p, p.Everything())
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			d := program.NewDelta()
			switch a := rapid.SampledFrom([]netip.Addr{v4, v6}).Draw(t, "address"); rapid.IntRange(0, 2).Draw(t, "step") {
			case 0:
				p.Bridges = rapid.SampledFrom([][]string{nil, {"cni0"}, {"br@x", "cni0"}}).Draw(t, "bridges")
				d.Bridges = true
			case 1:
				d.Locals[a] = struct{}{}
				if delete(p.Locals, a); rapid.Bool().Draw(t, "there") {
					p.Locals[a] = isolated([]netip.Addr{a}).Locals[a]
				}
			default:
				m := program.Member{Addr: a}
				d.Set("s")[m] = struct{}{}
				s := &program.Set{ID: "s", Members: map[program.Member]struct{}{}}
				if p.Sets["s"] = s; rapid.Bool().Draw(t, "in") {
					s.Members[m] = struct{}{}
				}
				d.Set("s")[program.Member{Addr: v4}], d.Set("s")[program.Member{Addr: v6}] = struct{}{}, struct{}{}
			}
			l.Update(p, d)
			if diff := iptfake.Difference(l.Ruleset(), Render(p)); diff != "" {
				t.Fatal(diff)
			}
			state.Take(l.Ruleset().V6, l.TakeDirty(ruleset.V6))
			if plan := ruleset.Diff(Render(p).V6, state, nil); !plan.Empty() {
				t.Fatalf("a change was not reported:\n%+v", plan)
			}
		}
	})
}
