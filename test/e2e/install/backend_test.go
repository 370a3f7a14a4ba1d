//go:build e2e

package install

import (
	"slices"
	"strings"
	"testing"

	"github.com/netpol-agent/netpol-agent/test/e2e/deploy"
)

// backendsUnderTraffic goes through all backends as an operator does, with the image that has their programs, and in the
// end back to the one that was installed. After each change the agents' rules are where they say, and nowhere else.
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
	}
	c.expect(t, true, false)
}

// rulesOf says what is not as it is when the agent on a node enforces with a backend and all else is removed.
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
