package layout

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/render/iptables/ruleset"
	"github.com/netpol-agent/netpol-agent/test/iptfake"
	"github.com/netpol-agent/netpol-agent/test/programs"
)

// isolated returns a program with these addresses local and isolated in ingress by a policy that allows TCP port 80.
func isolated(addrs []netip.Addr) *program.Program {
	p := program.New()
	p.Policies[programs.Ref("ns/p")] = &program.Policy{Ref: programs.Ref("ns/p"), Ingress: []program.Rule{{
		Verdict: program.Accept, Peers: program.Peers{Any: true},
		Ports: program.Ports{List: []program.Port{{Protocol: program.TCP, First: 80, Last: 80}}},
	}}}
	programs.Denying(p, "s", program.Ingress, "ns/p")
	for _, a := range addrs {
		p.Locals[a] = &program.Local{Pods: []string{"ns/" + a.String()}, Ingress: []program.StackID{"s"}}
	}
	return p
}

// draw returns an address of a few dense and a few sparse networks, so that all levels of the tree occur.
func draw(t *rapid.T, name string) netip.Addr {
	near := byte(rapid.IntRange(0, 255).Draw(t, name))
	switch far := byte(rapid.IntRange(0, 5).Draw(t, name+" net")); far {
	case 0, 1:
		return netip.AddrFrom4([4]byte{10, 244, far, near})
	case 2:
		return netip.AddrFrom4([4]byte{10, near, near * 3, 1})
	default:
		a := netip.MustParseAddr("fd00:10:244::").As16()
		a[7], a[13], a[14], a[15] = far-3, (far-3)*near, near&1, near
		return netip.AddrFrom16(a)
	}
}

// TestTreeFindsEveryAddress compares the trees with the list of addresses: isolated ones are judged and reach
// themselves, and all others pass.
func TestTreeFindsEveryAddress(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		addrs := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) netip.Addr { return draw(t, "local") }), 1, 120).Draw(t, "locals")
		p := isolated(addrs)
		rules := Render(p)
		m := iptfake.NewModel()
		for _, f := range program.Families() {
			if err := m.Restore(f, ruleset.Diff(rules.Table(f), ruleset.NewState(), nil).Restore); err != nil {
				t.Fatal(err)
			}
		}
		probes := addrs
		for range 20 {
			probes = append(probes, draw(t, "other"))
		}
		for _, dst := range probes {
			for port, open := range map[uint16]bool{80: true, 81: p.Locals[dst] == nil} {
				src := netip.MustParseAddr("192.0.2.1")
				if dst.Is6() {
					src = netip.MustParseAddr("2001:db8::1")
				}
				pkt := iptfake.Packet{Src: src, Dst: dst, Protocol: program.TCP, DstPort: port, SYN: true}
				table := rules.Table(program.FamilyOf(dst))
				if got, steps := iptfake.Trace(table, ruleset.ChainForward, pkt); got != open {
					t.Fatalf("%+v: passes %v\n%v\n%s", pkt, got, steps, table.Text())
				}
				pkt.Src = dst
				if got, steps := iptfake.Trace(table, ruleset.ChainForward, pkt); !got {
					t.Fatalf("%+v does not reach itself:\n%v\n%s", pkt, steps, table.Text())
				}
			}
		}
	})
}

// TestTreeIsShort limits how many rules a packet to a node with many pods meets: not one for each pod.
func TestTreeIsShort(t *testing.T) {
	var addrs []netip.Addr
	for i := range 250 {
		addrs = append(addrs, netip.AddrFrom4([4]byte{10, 244, 3, byte(i)}))
	}
	rules := Render(isolated(addrs)).V4
	for name, c := range rules.Chains {
		if len(c.Rules) > leafSize+1 {
			t.Errorf("chain %s has %d rules", name, len(c.Rules))
		}
	}
	if n := len(rules.Chains[chainIngress].Rules); n != 16 {
		t.Errorf("the root has %d rules, want one for each /28", n)
	}
}

// TestPrefixesOfRanges checks the cover of a block that excepts a few others.
func TestPrefixesOfRanges(t *testing.T) {
	b := program.Block{CIDR: netip.MustParsePrefix("0.0.0.0/0"), Except: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/2"), netip.MustParsePrefix("255.255.255.255/32")}}
	var u unit
	terms := peerTerms(&u, &program.Peers{Blocks: []program.Block{b}}, ruleset.V4)
	if len(terms) != 1 || len(u.Sets) != 1 {
		t.Fatalf("terms %v, sets %v", terms, u.Sets)
	}
	members := u.Sets[terms[0].set].Members
	if len(members) != 32 { // 64/2, and 128/2 to 255.255.255.254/32
		t.Errorf("%d prefixes: %v", len(members), members)
	}
	whole := peerTerms(&u, &program.Peers{Blocks: []program.Block{{CIDR: netip.MustParsePrefix("::/0")}}}, ruleset.V6)
	if len(whole) != 1 || whole[0] != (peerTerm{}) {
		t.Errorf("::/0 became %v", whole)
	}
}

// TestManyPortsFitTheirRules checks that no rule lists more ports than the match takes.
func TestManyPortsFitTheirRules(t *testing.T) {
	var list []program.Port
	for i := range uint16(40) {
		list = append(list, program.Port{Protocol: program.UDP, First: 10 * i, Last: 10*i + i%2})
	}
	got := 0
	for _, term := range portTerms(&program.Ports{List: list}, ruleset.V4) {
		slots := 0
		for _, p := range term.ports {
			got++
			slots++
			if p.First != p.Last {
				slots++
			}
		}
		if slots > ruleset.MaxPorts {
			t.Errorf("%v takes %d slots", term.ports, slots)
		}
	}
	if got != 40 {
		t.Errorf("%d ports of 40", got)
	}
}
