//go:build e2e

package install

import (
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// uninstallNames stops a node's kubelet, so that nothing can be cleaned there.
func uninstallNames(t *testing.T, c *cluster) {
	kubelet, err := c.ProcessInNode(t.Context(), "node2", "kubelet")
	if err != nil {
		t.Fatal(err)
	}
	if err := kubelet.Signal(t.Context(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := kubelet.Signal(t.Context(), syscall.SIGCONT); err != nil {
			t.Error(err)
		}
	}()
	// The Job itself must land on the node that lives.
	c.kubectl(t, "", "cordon", "node2")
	defer c.kubectl(t, "", "uncordon", "node2")
	c.helm(t, append([]string{"upgrade", "netpol-agent"}, c.chart("--set", "cleanup.timeout=20s", "--set", "log.level=debug")...)...)
	if out, err := c.tryHelm(t, "uninstall", "netpol-agent", "--timeout", "2m"); err == nil {
		t.Fatalf("helm uninstall calls itself done: %s", out)
	}
	log := c.kubectl(t, "", "-n", namespace, "logs", "job/netpol-agent-cleanup")
	if !strings.Contains(log, "1 of 2 nodes may still have rules: node2 (") {
		t.Errorf("the Job's log does not name node2: %s", log)
	}
	if got := c.tables(t, "node1"); got != "" {
		t.Errorf("node1 waited for node2: %s", got)
	}
	if got := c.tables(t, "node2"); got == "" {
		t.Error("node2 has no rules, though nothing ran there: the test sees nothing")
	}
}

// uninstalled repeats what failed, now that the node is back.
func uninstalled(t *testing.T, c *cluster) {
	foreign := []string{"nft", "add", "table", "inet", "netpol-agent-foreign"}
	if _, err := c.NodeExec(t.Context(), "node1", foreign...); err != nil {
		t.Fatal(err)
	}
	c.helm(t, "uninstall", "netpol-agent", "--wait", "--timeout", "3m")
	if got := c.tables(t, "node1"); got != "table inet netpol-agent-foreign" {
		t.Errorf("node1: tables %q, want the foreign one and no other", got)
	}
	if _, err := c.NodeExec(t.Context(), "node1", "nft", "delete", "table", "inet", "netpol-agent-foreign"); err != nil {
		t.Error(err)
	}
	c.gone(t)
	c.expect(t, true, true)
}

// gone holds that neither rules nor objects are left.
func (c *cluster) gone(t *testing.T) {
	t.Helper()
	for _, n := range c.Nodes {
		if got := c.tables(t, n.Name); got != "" {
			t.Errorf("%s: tables %s are left", n.Name, got)
		}
	}
	eventually(t, "objects are left", func() error {
		out := c.kubectl(t, "", "get", "-n", namespace, "-o", "name",
			"daemonsets,pods,jobs,serviceaccounts,roles,rolebindings,clusterroles,clusterrolebindings,services,secrets")
		var left []string
		for line := range strings.Lines(out) {
			if strings.Contains(line, "netpol-agent") {
				left = append(left, strings.TrimSpace(line))
			}
		}
		if len(left) > 0 {
			return notYet("%v", left)
		}
		return nil
	})
}

// plainManifest is for those without Helm.
func plainManifest(t *testing.T, c *cluster) {
	file := filepath.Join(c.repo, "deploy", "netpol-agent.yaml")
	c.kubectl(t, "", "apply", "-f", file)
	c.kubectl(t, "", "-n", namespace, "set", "image", "daemonset/netpol-agent", fmt.Sprintf("netpol-agent=%s:%s", c.repository, c.tag))
	c.kubectl(t, "", "-n", namespace, "set", "env", "daemonset/netpol-agent",
		"KUBERNETES_SERVICE_HOST="+c.host, "KUBERNETES_SERVICE_PORT="+c.port)
	c.ready(t)
	c.expect(t, true, false)
	cmd, err := c.ShellCommand(t.Context(), filepath.Join(c.repo, "bin", "image", "amd64", "netpol-agent"), "uninstall", "--timeout=60s")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := cmd.Output(); err != nil {
		t.Fatalf("%s %v", out, err)
	}
	c.kubectl(t, "", "delete", "-f", file)
	c.gone(t)
	c.expect(t, true, true)
	c.kubectl(t, "", "delete", "namespace", "install-test", "--wait=false")
}
