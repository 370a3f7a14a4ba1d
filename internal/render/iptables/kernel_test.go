package iptables_test

import (
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/netpol-agent/netpol-agent/internal/compiler"
	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/render"
	"github.com/netpol-agent/netpol-agent/internal/render/iptables"
	"github.com/netpol-agent/netpol-agent/internal/render/iptables/kernel"
	"github.com/netpol-agent/netpol-agent/internal/render/iptables/ruleset"
	"github.com/netpol-agent/netpol-agent/test/clustergen"
	"github.com/netpol-agent/netpol-agent/test/programs"
	"github.com/netpol-agent/netpol-agent/test/testns"
	"github.com/netpol-agent/netpol-agent/test/testns/xtables"
)

// inNS is the programs inside a network namespace.
type inNS struct {
	xtables.Programs
	ns *testns.NS
}

func openIn(ns *testns.NS, v kernel.Variant) (inNS, error) {
	p, err := xtables.Within(ns.Run, kernel.Open, v)
	return inNS{p, ns}, err
}

// command runs a program inside the namespace, as somebody else on the node would.
func (k inNS) command(t *testing.T, args ...string) string {
	t.Helper()
	var out []byte
	err := k.ns.Run(func() (err error) {
		out, err = exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput()
		return err
	})
	if err != nil {
		t.Fatalf("%v: %v: %s", args, err, out)
	}
	return string(out)
}

// iptables runs the IPv4 binary of the variant.
func (k inNS) iptables(t *testing.T, args ...string) string {
	t.Helper()
	return k.command(t, append([]string{"iptables-" + string(k.Variant()), "-w", "10"}, args...)...)
}

// eachVariant runs a test with both variants of the binary, each in its own namespace.
func eachVariant(t *testing.T, f func(t *testing.T, k inNS)) {
	for _, v := range []kernel.Variant{kernel.Legacy, kernel.NFT} {
		t.Run(string(v), func(t *testing.T) {
			k, err := openIn(testns.New(t), v)
			if err != nil {
				testns.Cannot(t, "%v", err)
			}
			f(t, k)
		})
	}
}

// everyTime makes each check for drift compare everything.
var everyTime = iptables.Options{FullCheck: 1}

func sync(t *testing.T, k iptables.Kernel, p *program.Program) render.Stats {
	t.Helper()
	stats, err := iptables.New(k, iptables.Options{}).Sync(p)
	if err != nil {
		t.Fatal(err)
	}
	return stats
}

// noDrift fails if anything that is installed is not as it should be.
func noDrift(t *testing.T, r *iptables.Renderer) {
	t.Helper()
	if drifted, err := r.Drifted(); err != nil || drifted {
		t.Fatalf("drifted %v, %v\n%s", drifted, err, r.Text())
	}
}

// play returns a compiler that has seen a random cluster's history.
func play(seed uint64, each func(c *compiler.Compiler)) *compiler.Compiler {
	c := compiler.New(compiler.Options{Node: "n1"})
	for _, e := range clustergen.EventsFromSeed(seed).Events {
		switch {
		case e.Pod != nil && e.Delete:
			c.DeletePod(types.NamespacedName{Namespace: e.Pod.Namespace, Name: e.Pod.Name})
		case e.Pod != nil:
			c.SetPod(e.Pod)
		case e.Namespace != nil && e.Delete:
			c.DeleteNamespace(e.Namespace.Name)
		case e.Namespace != nil:
			c.SetNamespace(e.Namespace)
		case e.Delete:
			c.DeletePolicy(types.NamespacedName{Namespace: e.Policy.Namespace, Name: e.Policy.Name})
		default:
			c.SetPolicy(e.Policy)
		}
		each(c)
	}
	return c
}

// TestKernelTakesHistories plays random histories event by event. The kernel must accept each step, and a renderer that
// starts afterwards must find exactly what it would write itself, so text and kernel agree in every word.
func TestKernelTakesHistories(t *testing.T) {
	eachVariant(t, func(t *testing.T, k inNS) {
		for seed := range uint64(6) {
			r := iptables.New(k, everyTime)
			steps := 0
			c := play(seed, func(c *compiler.Compiler) {
				if steps++; steps%4 != 0 {
					return
				}
				if _, err := r.Apply(c.Program(), c.TakeDelta()); err != nil {
					t.Fatalf("seed %d, step %d: %v", seed, steps, err)
				}
			})
			if _, err := r.Apply(c.Program(), c.TakeDelta()); err != nil {
				t.Fatal(err)
			}
			noDrift(t, r)
			if stats := sync(t, k, c.Program()); stats.Ops != 0 {
				t.Errorf("seed %d: a restart changed %+v", seed, stats)
			}
		}
		if _, err := iptables.Cleanup([]iptables.Kernel{k}, false); err != nil {
			t.Fatal(err)
		}
		nothingLeft(t, k)
	})
}

func nothingLeft(t *testing.T, k inNS) {
	t.Helper()
	sets, err := k.SaveSets()
	for _, f := range program.Families() {
		rules, err := k.Save(f)
		if err != nil || strings.Contains(rules, ruleset.Prefix) {
			t.Errorf("%s: left over (%v):\n%s", f, err, rules)
		}
	}
	if err != nil || strings.Contains(sets, ruleset.Prefix) {
		t.Errorf("left over (%v):\n%s", err, sets)
	}
}

// everyWord is a program whose rules use every kind of match, in both families.
func everyWord() *program.Program {
	p := program.New()
	peers, names := program.SetID("peers"), program.SetID("names")
	p.Sets[peers] = &program.Set{ID: peers, Members: map[program.Member]struct{}{}}
	p.Sets[names] = &program.Set{ID: names, Kind: program.NamedPorts, Protocol: program.UDP, Members: map[program.Member]struct{}{}}
	for _, a := range []string{"10.0.0.9", "fd00::9", "fd00:0:0:1::ffff:0:9", "::10.0.0.1"} {
		p.Sets[peers].Members[program.Member{Addr: netip.MustParseAddr(a)}] = struct{}{}
		p.Sets[names].Members[program.Member{Addr: netip.MustParseAddr(a), Port: 53}] = struct{}{}
	}
	var many []program.Port
	for i := range uint16(20) {
		many = append(many, program.Port{Protocol: program.TCP, First: 100 + 10*i, Last: 100 + 10*i + i%3})
	}
	block := func(cidr string, except ...string) program.Block {
		b := program.Block{CIDR: netip.MustParsePrefix(cidr)}
		for _, e := range except {
			b.Except = append(b.Except, netip.MustParsePrefix(e))
		}
		return b
	}
	rules := []program.Rule{
		{Verdict: program.Accept, Peers: program.Peers{Sets: []program.SetID{peers}}, Ports: program.Ports{Any: true}},
		{Verdict: program.Accept, Index: 1, Peers: program.Peers{Any: true}, Ports: program.Ports{List: append(many,
			program.Port{Protocol: program.UDP, First: 1, Last: 65535}, program.Port{Protocol: program.SCTP, First: 0, Last: 65535},
			program.Port{Protocol: program.SCTP, First: 0, Last: 9}, program.Port{Protocol: program.UDP, Named: names})}},
		{Verdict: program.Accept, Index: 2, Ports: program.Ports{List: []program.Port{{Protocol: program.SCTP, First: 7, Last: 7}, {Protocol: program.TCP, First: 0, Last: 90}}},
			Peers: program.Peers{Blocks: []program.Block{block("0.0.0.0/0", "10.0.0.0/8"), block("::/0", "fd00::/8"), block("10.1.2.3/32")}}},
		{Verdict: program.Accept, Index: 3, Ports: program.Ports{Any: true},
			Peers: program.Peers{Blocks: []program.Block{block("172.16.0.0/12"), block("192.0.2.1/32"), block("2001:db8::/32"), block("::/96")}}},
	}
	p.Policies[programs.Ref("ns/p")] = &program.Policy{Ref: programs.Ref("ns/p"), Ingress: rules, Egress: rules}
	for _, d := range program.Directions() {
		programs.Denying(p, program.StackID(d.String()), d, "ns/p")
	}
	for i := range 200 {
		for _, text := range []string{"10.244.0.%d", "fd00:10:244::%d", "10.%d.0.1"} {
			l := &program.Local{Pods: []string{fmt.Sprintf("ns/%d", i)}, Ingress: []program.StackID{"ingress"}}
			if i%2 == 0 {
				l.Egress = []program.StackID{"egress"}
			}
			p.Locals[netip.MustParseAddr(fmt.Sprintf(text, i))] = l
		}
	}
	return p
}

// TestKernelTakesEveryWord loads every kind of match and a tree of several levels, and expects to read back the same.
func TestKernelTakesEveryWord(t *testing.T) {
	eachVariant(t, func(t *testing.T, k inNS) {
		r := iptables.New(k, everyTime)
		p := everyWord()
		if _, err := r.Sync(p); err != nil {
			t.Fatal(err)
		}
		noDrift(t, r)
		if stats := sync(t, k, p); stats.Ops != 0 {
			t.Errorf("a restart changed %+v", stats)
		}
	})
}

// TestKernelRepairs changes the rules as others would. Each time the drift is detected and repaired, and the others'
// own rules stay.
func TestKernelRepairs(t *testing.T) {
	eachVariant(t, func(t *testing.T, k inNS) {
		r, full := iptables.New(k, iptables.Options{}), iptables.New(k, everyTime)
		p := everyWord()
		for _, x := range []*iptables.Renderer{r, full} {
			if _, err := x.Sync(p); err != nil {
				t.Fatal(err)
			}
			noDrift(t, x)
		}
		for _, c := range []struct {
			name   string
			args   []string
			hidden bool // found by the full comparison alone
		}{
			{name: "a rule before ours", args: []string{"-I", "FORWARD", "-j", "ACCEPT"}},
			{name: "a rule before ours in OUTPUT", args: []string{"-I", "OUTPUT", "-p", "tcp", "-j", "ACCEPT"}},
			{name: "the table flushed", args: []string{"-F"}},
			{name: "our jump removed", args: []string{"-F", "FORWARD"}},
			{name: "a chain of ours emptied", args: []string{"-F", "NETPOL-DENIED"}, hidden: true},
			{name: "a rule in a chain of ours", args: []string{"-I", "NETPOL-INGRESS", "-j", "ACCEPT"}, hidden: true},
		} {
			t.Run(c.name, func(t *testing.T) {
				k.iptables(t, c.args...)
				checked := r
				if c.hidden {
					checked = full
				}
				if drifted, err := checked.Drifted(); err != nil || !drifted {
					t.Fatalf("drifted %v, %v", drifted, err)
				}
				if stats, err := r.Sync(p); err != nil || stats.Ops == 0 {
					t.Fatalf("%+v, %v", stats, err)
				}
				if first := k.iptables(t, "-S", "FORWARD", "1"); !strings.Contains(first, "-j NETPOL-FORWARD") {
					t.Errorf("first in FORWARD: %s", first)
				}
				if stats := sync(t, k, p); stats.Ops != 0 {
					t.Errorf("not put right: %+v", stats)
				}
			})
		}
		k.command(t, "ipset", "flush")
		if stats, err := r.Sync(p); err != nil || stats.Elements == 0 {
			t.Errorf("sets not refilled: %+v, %v", stats, err)
		}
	})
}

// TestKernelLeavesOthersAlone removes our rules and sets while others have some, too.
func TestKernelLeavesOthersAlone(t *testing.T) {
	eachVariant(t, func(t *testing.T, k inNS) {
		k.command(t, "ipset", "create", "KUBE-X", "hash:ip")
		k.iptables(t, "-N", "KUBE-FORWARD")
		k.iptables(t, "-A", "KUBE-FORWARD", "-m", "set", "--match-set", "KUBE-X", "src", "-m", "comment", "--comment", `it's "theirs"`, "-j", "ACCEPT")
		k.iptables(t, "-A", "FORWARD", "-j", "KUBE-FORWARD")
		before := k.iptables(t, "-S")
		sync(t, k, everyWord())
		if gone, err := iptables.Cleanup([]iptables.Kernel{k}, true); err != nil || len(gone) != 3 {
			t.Errorf("dry run: %v, %v", gone, err)
		}
		if _, err := iptables.Cleanup([]iptables.Kernel{k}, false); err != nil {
			t.Fatal(err)
		}
		nothingLeft(t, k)
		if after := k.iptables(t, "-S"); after != before {
			t.Errorf("before\n%s\nafter\n%s", before, after)
		}
		k.command(t, "ipset", "list", "KUBE-X")
	})
}

// TestKernelChangesVariant starts one variant where the other one has enforced so far. At first the other one's rules
// hold the sets, which both share: that is reported, and the rules are enforced nevertheless. Once those rules are
// gone, the next comparison removes the sets.
func TestKernelChangesVariant(t *testing.T) {
	eachVariant(t, func(t *testing.T, k inNS) {
		v := map[kernel.Variant]kernel.Variant{kernel.Legacy: kernel.NFT, kernel.NFT: kernel.Legacy}[k.Variant()]
		other, err := openIn(k.ns, v)
		if err != nil {
			t.Fatal(err)
		}
		before, after := everyWord(), everyWord()
		delete(after.Sets, "names")
		after.Policies[programs.Ref("ns/p")].Ingress, after.Policies[programs.Ref("ns/p")].Egress = after.Policies[programs.Ref("ns/p")].Ingress[:1], nil
		sync(t, other, before)
		r := iptables.New(k, everyTime)
		if stats, err := r.Sync(after); err != nil || stats.Left == nil || !strings.Contains(stats.Left.Error(), "in use") {
			t.Fatalf("left %v, %v", stats.Left, err)
		}
		noDrift(t, r)
		gone, err := iptables.Chains([]iptables.Kernel{other}, false)
		if err != nil || len(gone) != 2 || !strings.HasPrefix(gone[0], v.Name()+" ipv4: ") {
			t.Errorf("removed %q, %v", gone, err)
		}
		for _, f := range program.Families() {
			if rules, err := other.Save(f); err != nil || strings.Contains(rules, ruleset.Prefix) {
				t.Errorf("%s: left in %s: %v\n%s", f, v, err, rules)
			}
		}
		if stats, err := r.Sync(after); err != nil || stats.Left != nil || stats.Ops == 0 {
			t.Fatalf("%+v, %v", stats, err)
		}
		if stats := sync(t, k, after); stats.Ops != 0 {
			t.Errorf("not all removed: %+v", stats)
		}
		sync(t, other, before)
		if _, err := iptables.Cleanup([]iptables.Kernel{k, other}, false); err != nil {
			t.Fatal(err)
		}
		nothingLeft(t, k)
		nothingLeft(t, other)
	})
}
