package iptables_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/render/iptables"
	"github.com/netpol-agent/netpol-agent/internal/render/iptables/ruleset"
	"github.com/netpol-agent/netpol-agent/test/iptfake"
	"github.com/netpol-agent/netpol-agent/test/programs"
)

// counted counts the programs that are run, and kills the agent before the killAt-th.
type counted struct {
	inNS
	calls   []string
	killAt  int
	scripts []string
}

var errKilled = errors.New("killed by the test")

func (k *counted) step(what, script string) error {
	if k.killAt > 0 && len(k.calls)+1 >= k.killAt {
		return errKilled
	}
	k.calls = append(k.calls, what)
	k.scripts = append(k.scripts, script)
	return nil
}

func (k *counted) Save(f ruleset.Family) (string, error) {
	if err := k.step("save "+f.String(), ""); err != nil {
		return "", err
	}
	return k.inNS.Save(f)
}

func (k *counted) SaveSets() (string, error) {
	if err := k.step("ipset save", ""); err != nil {
		return "", err
	}
	return k.inNS.SaveSets()
}

func (k *counted) Restore(f ruleset.Family, script string) error {
	if err := k.step("restore "+f.String(), script); err != nil {
		return err
	}
	return k.inNS.Restore(f, script)
}

func (k *counted) RestoreSets(script string) error {
	if err := k.step("ipset restore", script); err != nil {
		return err
	}
	return k.inNS.RestoreSets(script)
}

// take returns the calls so far and resets them.
func (k *counted) take() string {
	out := strings.Join(k.calls, ", ")
	k.calls, k.scripts = nil, nil
	return out
}

// TestKernelCountsPrograms shows what a change costs: a remote pod costs one call of ipset with one line, a policy one
// iptables-restore for each family that it concerns. Neither reads anything back.
func TestKernelCountsPrograms(t *testing.T) {
	eachVariant(t, func(t *testing.T, in inNS) {
		k := &counted{inNS: in}
		r := iptables.New(k, everyTime)
		p := everyWord()
		if _, err := r.Sync(p); err != nil {
			t.Fatal(err)
		}
		k.take()
		member := program.Member{Addr: netip.MustParseAddr("10.0.7.7")}
		apply := func(what, want string, d *program.Delta) {
			t.Helper()
			if _, err := r.Apply(p, d); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			if what == "remote pod" && (len(k.scripts) != 1 || strings.Count(k.scripts[0], "\n") != 1) {
				t.Errorf("%s: %q", what, k.scripts)
			}
			if got := k.take(); got != want {
				t.Errorf("%s: ran %q, want %q", what, got, want)
			}
		}
		p.Sets["peers"].Members[member] = struct{}{}
		d := program.NewDelta()
		d.Set("peers")[member] = struct{}{}
		apply("remote pod", "ipset restore", d)
		delete(p.Sets["peers"].Members, member)
		apply("remote pod", "ipset restore", d)
		p.Policies[programs.Ref("ns/p")].Ingress[0].Ports.Any = false
		p.Policies[programs.Ref("ns/p")].Ingress[0].Ports.List = []program.Port{{Protocol: program.TCP, First: 80, Last: 80}}
		d = program.NewDelta()
		d.Policies[programs.Ref("ns/p")] = struct{}{}
		apply("policy", "restore ipv4, restore ipv6", d)
		apply("nothing", "", program.NewDelta())
	})
}

// TestKernelKilledAtEachStep updates from one program to another, with the process killed before each of its steps in
// turn. The rules in force never let a packet pass that both programs forbid, and the next start ends in the right
// state with nothing left over.
func TestKernelKilledAtEachStep(t *testing.T) {
	eachVariant(t, func(t *testing.T, in inNS) {
		before, after := everyWord(), everyWord()
		after.Policies[programs.Ref("ns/p")].Ingress = after.Policies[programs.Ref("ns/p")].Ingress[1:3]
		after.Policies[programs.Ref("ns/q")] = &program.Policy{Ref: programs.Ref("ns/q"), Ingress: before.Policies[programs.Ref("ns/p")].Ingress[:1]}
		programs.Denying(after, "egress", program.Egress, "ns/q")
		delete(after.Sets["peers"].Members, program.Member{Addr: netip.MustParseAddr("10.0.0.9")})
		after.Sets["peers"].Members[program.Member{Addr: netip.MustParseAddr("10.0.0.77")}] = struct{}{}
		after.Policies[programs.Ref("ns/p")].Egress = nil
		old, next := iptables.Render(before), iptables.Render(after)
		killed := 0
		for at := 1; ; at++ {
			sync(t, in, before)
			k := &counted{inNS: in, killAt: at}
			_, err := iptables.New(k, everyTime).Sync(after)
			neverOpen(t, in, at, old, next)
			if stats, err := iptables.New(in, everyTime).Sync(after); err != nil || stats.Left != nil {
				t.Fatalf("killed at step %d: the next start: %+v, %v", at, stats, err)
			}
			if stats := sync(t, in, after); stats.Ops != 0 {
				t.Errorf("killed at step %d: the next start was not complete: %+v", at, stats)
			}
			onlyWanted(t, in, at, next)
			if err == nil {
				break
			}
			if !errors.Is(err, errKilled) {
				t.Fatalf("step %d: %v", at, err)
			}
			killed++
		}
		if killed < 7 { // 3 readings, sets before, two families, sets after, sets that end
			t.Errorf("killed at %d steps only", killed)
		}
	})
}

// neverOpen traces packets through the installed rules.
func neverOpen(t *testing.T, in inNS, at int, old, next *ruleset.Ruleset) {
	t.Helper()
	m := iptfake.NewModel()
	sets, err := in.SaveSets()
	if err != nil {
		t.Fatal(err)
	}
	if err := m.RestoreSets(sets); err != nil {
		t.Fatal(err)
	}
	for _, f := range program.Families() {
		rules, err := in.Save(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Restore(f, withoutComments(rules)); err != nil {
			t.Fatalf("%v\n%s", err, rules)
		}
		installed, err := m.Table(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range packets(f) {
			pass, steps := iptfake.Trace(installed, ruleset.ChainForward, p)
			was, _ := iptfake.Trace(old.Table(f), ruleset.ChainForward, p)
			will, _ := iptfake.Trace(next.Table(f), ruleset.ChainForward, p)
			if pass && !was && !will {
				t.Errorf("killed at step %d: %+v passes:\n%s", at, p, strings.Join(steps, "\n"))
			}
		}
	}
}

// withoutComments removes the tool's comments, which the model does not read.
func withoutComments(save string) string {
	var out strings.Builder
	for line := range strings.Lines(save) {
		if !strings.HasPrefix(line, "#") {
			out.WriteString(line)
		}
	}
	return out.String()
}

// packets returns packets of all kinds that the programs distinguish.
func packets(f ruleset.Family) []iptfake.Packet {
	ends := []string{"10.244.0.4", "10.244.0.5", "10.0.0.9", "10.0.0.77", "10.1.2.3", "172.16.0.1", "192.0.2.1", "8.8.8.8"}
	if f == ruleset.V6 {
		ends = []string{"fd00:10:244::4", "fd00:10:244::5", "fd00::9", "fd00:0:0:1::ffff:0:9", "2001:db8::1", "2a00::1", "::10.0.0.1"}
	}
	var out []iptfake.Packet
	for _, src := range ends {
		for _, dst := range ends {
			for _, protocol := range []uint8{program.TCP, program.UDP, program.SCTP} {
				for _, port := range []uint16{0, 7, 53, 80, 101, 1000} {
					out = append(out, iptfake.Packet{Src: netip.MustParseAddr(src), Dst: netip.MustParseAddr(dst), Protocol: protocol, DstPort: port, SYN: true})
				}
			}
		}
	}
	return out
}

// onlyWanted compares the names of all our chains and sets with those that should be there.
func onlyWanted(t *testing.T, in inNS, at int, want *ruleset.Ruleset) {
	t.Helper()
	sets, err := in.SaveSets()
	if err != nil {
		t.Fatal(err)
	}
	chains, wanted := 0, 0
	for _, f := range program.Families() {
		rules, err := in.Save(f)
		if err != nil {
			t.Fatal(err)
		}
		chains += strings.Count(rules, "\n:NETPOL-")
		wanted += len(want.Table(f).Chains)
	}
	if got, is := strings.Count("\n"+sets, "\ncreate NETPOL-"), len(want.V4.Sets)+len(want.V6.Sets); chains != wanted || got != is {
		t.Errorf("killed at step %d: %d chains of %d, %d sets of %d", at, chains, wanted, got, is)
	}
}

// foreignRules is how many rules others have in another table.
const foreignRules = 10000

// costLimit is the factor by which others' rules may slow work down. A walk over all of them takes many times as long.
const costLimit = 1.5

// TestKernelOthersRulesCostNothing compares the processor time of a change while others have thousands of rules in the
// nat table with that while they have none. It measures both in turns and takes the best of each, because other work on
// the machine only adds time.
func TestKernelOthersRulesCostNothing(t *testing.T) {
	eachVariant(t, func(t *testing.T, in inNS) {
		p := everyWord()
		r := iptables.New(in, iptables.Options{})
		if _, err := r.Sync(p); err != nil {
			t.Fatal(err)
		}
		alone, crowded := time.Hour, time.Hour
		ratio := func() float64 { return float64(crowded) / float64(alone) }
		for round := 0; round < 3 || round < 12 && ratio() > costLimit; round++ {
			alone = min(alone, bestOfChanges(t, r, p))
			others(t, in, foreignRules)
			crowded = min(crowded, bestOfChanges(t, r, p))
			others(t, in, 0)
		}
		t.Logf("a policy change, a look and a full comparison: %v alone, %v beside %d rules of others, ratio %.2f",
			alone, crowded, foreignRules, ratio())
		if ratio() > costLimit {
			t.Errorf("others' rules cost: %v alone, %v beside them", alone, crowded)
		}
	})
}

// others creates n rules of others in the nat table.
func others(t *testing.T, in inNS, n int) {
	t.Helper()
	var script strings.Builder
	script.WriteString("*nat\n:KUBE-MANY - [0:0]\n")
	for i := range n {
		fmt.Fprintf(&script, "-A KUBE-MANY -p tcp -d 10.96.%d.%d/32 --dport 80 -j RETURN\n", i/250, i%250)
	}
	script.WriteString("COMMIT\n")
	if err := in.Restore(ruleset.V4, script.String()); err != nil {
		t.Fatal(err)
	}
}

// bestOfChanges returns the shortest time of several changes of a policy, each with a check for drift and a full comparison.
func bestOfChanges(t *testing.T, r *iptables.Renderer, p *program.Program) time.Duration {
	t.Helper()
	best := time.Hour
	for i := range 6 {
		start := spent(t)
		d := program.NewDelta()
		d.Policies[programs.Ref("ns/p")] = struct{}{}
		p.Policies[programs.Ref("ns/p")].Ingress[0].Ports.Any = i%2 == 0
		if _, err := r.Apply(p, d); err != nil {
			t.Fatal(err)
		}
		if drifted, err := r.Drifted(); err != nil || drifted {
			t.Fatalf("drifted %v, %v", drifted, err)
		}
		if _, err := r.Sync(p); err != nil {
			t.Fatal(err)
		}
		best = min(best, spent(t)-start)
	}
	return best
}

// spent returns the processor time of this process and of the programs that it ran. A clock would count others' work too.
func spent(t *testing.T) time.Duration {
	t.Helper()
	var all time.Duration
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var u unix.Rusage
		if err := unix.Getrusage(who, &u); err != nil {
			t.Fatal(err)
		}
		all += time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	return all
}
