//go:build e2e

package install

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/netpol-agent/netpol-agent/test/e2e/deploy"
)

// backendsUnderTraffic switches through all backends as an operator does, with the image that has their programs,
// and finally back to the one that was installed. After each change, the agents' rules must be in the backend that
// the agents report, and in no other.
func backendsUnderTraffic(t *testing.T, c *cluster) {
	if err := deploy.Build(t.Context(), c.repo, deploy.IPTables); err != nil {
		t.Fatal(err)
	}
	all, err := deploy.New(c.Cluster, c.repo, deploy.IPTables)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		release *deploy.Release
		values  []string
		want    string
	}{
		{all, []string{"backend=iptables", "iptablesVariant=nft"}, "iptables-nft"},
		{all, []string{"backend=iptables", "iptablesVariant=legacy"}, "iptables-legacy"},
		{all, []string{"backend=auto"}, "nftables"},
		{all, []string{"backend=iptables", "iptablesVariant=legacy"}, "iptables-legacy"},
		{all, []string{"backend=iptables", "iptablesVariant=nft"}, "iptables-nft"},
		{all, []string{"backend=auto"}, "nftables"},
		{c.Release, []string{"backend=nftables"}, "nftables"},
	} {
		name := strings.Join(step.values, ",")
		args := []string{"--reset-values"}
		for _, v := range step.values {
			args = append(args, "--set-string", v)
		}
		c.undisturbed(t, func() {
			if err := step.release.Install(t.Context(), args...); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			for _, n := range c.Nodes {
				eventually(t, n.Name+", "+name+": rules of one backend", func() error { return c.rulesOf(t, n.Name, step.want) })
			}
		})
		if step.want == "iptables-nft" {
			c.staysFirst(t, "node1")
		}
	}
	c.expect(t, true, false)
}

// staysFirst empties the filter table of a node, restarts the other programs that write iptables rules there, and
// then inserts a rule in front of all others. Each time, the agent's jump must soon be first again, and its
// policies must hold.
func (c *cluster) staysFirst(t *testing.T, node string) {
	t.Helper()
	c.onNode(t, node, "iptables-nft", "-w", "10", "-t", "filter", "-F")
	for _, name := range []string{"kube-proxy", "flanneld"} {
		c.restart(t, node, name)
	}
	first := func(among ...string) func() error {
		return func() error {
			rules := strings.Split(c.onNode(t, node, "iptables-nft", "-w", "10", "-S", "FORWARD"), "\n")
			for _, chain := range among {
				if !slices.ContainsFunc(rules, func(r string) bool { return strings.HasSuffix(r, "-j "+chain) }) {
					return notYet("no jump to %s: %q", chain, rules)
				}
			}
			if len(rules) < 2 || !strings.HasSuffix(rules[1], "-j NETPOL-FORWARD") {
				return notYet("%q", rules)
			}
			return nil
		}
	}
	eventually(t, "first again after kube-proxy's and flanneld's start", first("KUBE-FORWARD", "FLANNEL-FWD"))
	c.onNode(t, node, "iptables-nft", "-w", "10", "-I", "FORWARD", "-j", "ACCEPT")
	began := time.Now()
	eventually(t, "first again after somebody else's rule", first("ACCEPT"))
	t.Logf("first again after %v", time.Since(began).Round(time.Millisecond))
	c.onNode(t, node, "iptables-nft", "-w", "10", "-D", "FORWARD", "-j", "ACCEPT")
	c.expect(t, true, false)
}

// restart stops a process on a node and starts it again as it was.
func (c *cluster) restart(t *testing.T, node, name string) {
	t.Helper()
	n, err := c.Node(node)
	if err != nil {
		t.Fatal(err)
	}
	p, err := c.ProcessInNode(t.Context(), node, name)
	if err != nil {
		t.Fatal(err)
	}
	was, err := p.Stop(t.Context(), 10*time.Second)
	if err == nil {
		_, err = n.Machine.Supervisor().Start(t.Context(), was.Spec)
	}
	if err != nil {
		t.Fatalf("restart %s on %s: %v", name, node, err)
	}
}

// rulesOf returns an error unless the agent on a node enforces with the backend and there are no rules of another.
func (c *cluster) rulesOf(t *testing.T, node, backend string) error {
	t.Helper()
	s, err := c.Release.Status(t.Context(), node)
	if err != nil {
		return notYet("%v", err)
	}
	if s.Backend != backend {
		return notYet("the agent says %s", s.Backend)
	}
	var has []string
	if tables := strings.Split(c.tables(t, node), ", "); slices.Contains(tables, "inet netpol-agent") || slices.Contains(tables, "inet netpol-agent-2") {
		has = append(has, "nftables")
	}
	for _, variant := range []string{"legacy", "nft"} {
		if strings.Contains(c.onNode(t, node, "iptables-"+variant+"-save"), "NETPOL-") {
			has = append(has, "iptables-"+variant)
		}
	}
	if !slices.Equal(has, []string{backend}) {
		return notYet("rules of %q", has)
	}
	if sets := strings.Contains(c.onNode(t, node, "ipset", "list", "-n"), "NETPOL-"); sets != (backend != "nftables") {
		return notYet("sets: %t", sets)
	}
	return nil
}
