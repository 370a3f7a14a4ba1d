//go:build e2e

package install

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/netpol-agent/netpol-agent/test/e2e/deploy"
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
	// The Job itself must run on the other node.
	c.kubectl(t, "", "cordon", "node2")
	defer c.kubectl(t, "", "uncordon", "node2")
	c.helm(t, "upgrade", deploy.Name, c.Chart(), "--reuse-values", "--set", "cleanup.timeout=20s")
	if out, err := c.Helm(t.Context(), "uninstall", deploy.Name, "--timeout", "2m"); err == nil {
		t.Fatalf("helm uninstall reports success: %s", out)
	}
	log := c.kubectl(t, "", "-n", namespace, "logs", "job/netpol-agent-cleanup")
	if !strings.Contains(log, "1 of 2 nodes may still have rules: node2 (") {
		t.Errorf("the Job's log does not name node2: %s", log)
	}
	if got := c.tables(t, "node1"); got != "" {
		t.Errorf("node1 waited for node2: %s", got)
	}
	if got := c.tables(t, "node2"); got == "" {
		t.Error("node2 has no rules although nothing ran there: the test shows nothing")
	}
}

// takenBack follows the chart's README for users who want the agents back.
func takenBack(t *testing.T, c *cluster) {
	c.kubectl(t, "", "-n", namespace, "patch", "daemonset", deploy.Name, "--type=json", "-p",
		`[{"op":"remove","path":"/spec/template/spec/nodeSelector/netpol-agent~1uninstalling"}]`)
	c.enforcing(t)
	c.expect(t, true, false)
}

// uninstalled repeats the failed uninstall, now that the node is back.
func uninstalled(t *testing.T, c *cluster) {
	c.onNode(t, "node1", "nft", "add", "table", "inet", "netpol-agent-foreign")
	if err := c.Uninstall(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := c.tables(t, "node1"); got != "inet netpol-agent-foreign" {
		t.Errorf("node1: tables %q, want the foreign one and no other", got)
	}
	c.onNode(t, "node1", "nft", "delete", "table", "inet", "netpol-agent-foreign")
	c.gone(t)
	c.expect(t, true, true)
}

// gone checks that neither rules nor objects are left.
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

// plainManifest installs and uninstalls as users without Helm do.
func plainManifest(t *testing.T, c *cluster) {
	file := filepath.Join(c.repo, "deploy", "netpol-agent.yaml")
	host, port := c.APIServer()
	c.kubectl(t, "", "apply", "-f", file)
	c.kubectl(t, "", "-n", namespace, "set", "image", "daemonset/netpol-agent", "netpol-agent="+c.Image().Name())
	c.kubectl(t, "", "-n", namespace, "set", "env", "daemonset/netpol-agent",
		"KUBERNETES_SERVICE_HOST="+host, "KUBERNETES_SERVICE_PORT="+port)
	c.enforcing(t)
	c.expect(t, true, false)
	cmd, err := c.ShellCommand(t.Context(), c.Binary(), "uninstall", "--timeout=60s")
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
