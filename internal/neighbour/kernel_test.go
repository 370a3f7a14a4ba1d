package neighbour

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	rtnetlink "github.com/vishvananda/netlink"

	"github.com/netpol-agent/netpol-agent/test/testns"
)

// node is a network namespace in which others have created something.
type node struct {
	*testns.NS
	t testing.TB
}

func newNode(t testing.TB) node {
	t.Helper()
	if _, err := exec.LookPath("nft"); err != nil {
		testns.Cannot(t, "needs nft: %v", err)
	}
	return node{testns.New(t), t}
}

// nft runs the tool inside the namespace with input as its file, and returns what it prints.
func (n node) nft(input string, args ...string) string {
	n.t.Helper()
	var out []byte
	err := n.Run(func() (err error) {
		cmd := exec.CommandContext(n.t.Context(), "nft", args...)
		cmd.Stdin = strings.NewReader(input)
		out, err = cmd.CombinedOutput()
		return err
	})
	if err != nil {
		n.t.Fatalf("nft %v: %v\n%s", args, err, out)
	}
	return string(out)
}

func (n node) ipset(name string) {
	n.t.Helper()
	err := n.Run(func() error {
		if err := rtnetlink.IpsetCreate(name, "hash:ip", rtnetlink.IpsetCreateOptions{}); err != nil {
			return err
		}
		return rtnetlink.IpsetAdd(name, &rtnetlink.IPSetEntry{IP: []byte{192, 0, 2, 1}})
	})
	if err != nil {
		n.t.Fatalf("ipset %s: %v", name, err)
	}
}

func (n node) read() Names {
	n.t.Helper()
	names, err := NewKernel(WithNetNS(n.FD())).Read()
	if err != nil {
		n.t.Fatal(err)
	}
	return names
}

// found returns the findings of one look, and fails if the look changed anything.
func (n node) found() []string {
	n.t.Helper()
	before := n.state()
	var out []string
	for _, f := range Find(n.read()) {
		out = append(out, f.String())
	}
	if d := cmp.Diff(before, n.state()); d != "" {
		n.t.Errorf("the look changed something (-before +after)\n%s", d)
	}
	return out
}

// state returns all rules with their handles, and the tables of legacy iptables, which a careless request creates.
func (n node) state() string {
	n.t.Helper()
	var legacy []byte
	for _, file := range []string{"ip_tables_names", "ip6_tables_names"} {
		_ = n.Run(func() error {
			tables, err := os.ReadFile("/proc/thread-self/net/" + file)
			legacy = append(legacy, tables...)
			return err // a kernel without legacy iptables has no such file
		})
	}
	return n.nft("", "-a", "list", "ruleset") + string(legacy)
}

func (n node) veth(name string) {
	n.t.Helper()
	if err := n.Run(func() error {
		return rtnetlink.LinkAdd(&rtnetlink.Veth{LinkAttrs: rtnetlink.LinkAttrs{Name: name}, PeerName: "p-" + name})
	}); err != nil {
		n.t.Fatalf("interface %s: %v", name, err)
	}
}

func TestKernelEnginesAreFoundAndLeftAlone(t *testing.T) {
	n := newNode(t)
	n.nft(`
		table ip filter {
			chain FORWARD { type filter hook forward priority 0; jump KUBE-FORWARD; }
			chain KUBE-FORWARD { ct state invalid drop; }
		}
		table inet netpol-agent {
			chain filter-forward { type filter hook forward priority 5; }
		}`, "-f", "-")
	n.ipset("KUBE-CLUSTER-IP")
	if got := n.found(); got != nil {
		t.Errorf("found in a node without any: %q", got)
	}

	n.nft(`
		table ip filter {
			chain KUBE-POD-FW-3QWZ { ip daddr 10.0.0.1 accept; }
		}
		table ip6 calico {
			chain filter-FORWARD { type filter hook forward priority 0; }
		}
		table inet kube-network-policies {
			chain postrouting { type filter hook postrouting priority 95; }
		}`, "-f", "-")
	n.ipset("weave-local-pods")
	n.veth("cilium_host")
	want := []string{
		"calico (Calico's Felix, as in Canal): table ip6 calico",
		"cilium: interface cilium_host",
		"kube-network-policies (as kindnet contains it): table inet kube-network-policies",
		"kube-router (its policy controller, as k3s contains it): chain KUBE-POD-FW-3QWZ in table ip filter",
		"weave-npc (Weave Net's policy controller): ipset weave-local-pods",
	}
	if d := cmp.Diff(want, n.found()); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}

	n.nft("delete table ip6 calico", "-f", "-")
	if d := cmp.Diff(want[1:], n.found()); d != "" {
		t.Errorf("after one has gone (-want +got)\n%s", d)
	}
}

// kubeProxy returns a table as kube-proxy's iptables mode creates it: four rules and two chains for each of 2,500
// Services.
func kubeProxy() string {
	var b strings.Builder
	b.WriteString("table ip nat {\n chain KUBE-SERVICES {}\n")
	for i := range 2500 {
		fmt.Fprintf(&b, " chain KUBE-SEP-%016X { ip saddr 10.1.%d.%d counter; meta l4proto tcp counter; }\n", i, i/250, i%250)
		fmt.Fprintf(&b, " chain KUBE-SVC-%016X { counter jump KUBE-SEP-%016X; }\n", i, i)
	}
	for i := range 2500 {
		fmt.Fprintf(&b, " chain KUBE-SERVICES { ip daddr 10.0.%d.%d tcp dport 80 counter jump KUBE-SVC-%016X; }\n", i/250, i%250, i)
	}
	return b.String() + "}\n"
}

// TestKernelALookIsCheap limits the time of a look: the agent looks every minute on every node, whatever else is in the
// kernel.
func TestKernelALookIsCheap(t *testing.T) {
	n := newNode(t)
	n.nft(kubeProxy(), "-f", "-")
	for i := range 100 {
		n.veth(fmt.Sprintf("veth%d", i))
	}
	var took []time.Duration
	for range 10 {
		start := time.Now()
		names := n.read()
		found := Find(names)
		took = append(took, time.Since(start))
		if len(names.Chains) != 5001 || len(names.Links) < 200 || found != nil {
			t.Fatalf("%d chains, %d interfaces, found %v", len(names.Chains), len(names.Links), found)
		}
	}
	slices.Sort(took)
	t.Logf("10,000 rules, 5,001 chains, 200 interfaces: median %v, slowest %v", took[len(took)/2], took[len(took)-1])
	if fastest := took[0]; fastest > 100*time.Millisecond {
		t.Errorf("a look takes %v at best", fastest)
	}
}

func TestKernelOfNoSuchNamespace(t *testing.T) {
	if _, err := NewKernel(WithNetNS(1 << 20)).Read(); err == nil {
		t.Error("a namespace that does not exist was read")
	}
}
