//go:build e2e

package install

import (
	"fmt"
	"strings"
	"testing"
)

// netAdmin is the capability's bit, as /proc writes capability sets.
const netAdmin = "0000000000001000"

// onlyNetAdmin checks in the kernel that the agents, which enforce, have no capability but NET_ADMIN.
func onlyNetAdmin(t *testing.T, c *cluster) {
	for _, n := range c.Nodes {
		out := c.onNode(t, n.Name, "sh", "-c",
			`for p in /proc/[0-9]*; do tr '\0' ' ' <$p/cmdline 2>/dev/null | grep -q '^/usr/local/bin/netpol-agent run' && cat $p/status && break; done`)
		got := map[string]string{}
		for line := range strings.Lines(out) {
			key, value, _ := strings.Cut(line, ":")
			got[key] = strings.TrimSpace(value)
		}
		for key, want := range map[string]string{
			"CapPrm": netAdmin, "CapEff": netAdmin, "CapBnd": netAdmin, "CapInh": "0000000000000000", "CapAmb": "0000000000000000",
			"NoNewPrivs": "1", "Seccomp": "2",
		} {
			if got[key] != want {
				t.Errorf("%s: %s is %q, want %s", n.Name, key, got[key], want)
			}
		}
	}
}

// withoutNetAdmin runs the agent as the DaemonSet does, but without the capability, on a node that has no agent and
// no rules.
func withoutNetAdmin(t *testing.T, c *cluster) {
	before := c.onNode(t, "node1", "nft", "--stateless", "list", "ruleset")
	c.kubectl(t, fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: powerless, namespace: %s}
spec:
  nodeName: node1
  hostNetwork: true
  restartPolicy: Never
  securityContext: {seccompProfile: {type: RuntimeDefault}}
  containers:
  - name: netpol-agent
    image: %s
    imagePullPolicy: Never
    args: [run, --node-name=node1]
    terminationMessagePolicy: FallbackToLogsOnError
    securityContext: {runAsUser: 0, allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
`, namespace, c.Image().Name()), "apply", "-f", "-")
	defer c.kubectl(t, "", "-n", namespace, "delete", "pod", "powerless", "--now")
	c.kubectl(t, "", "-n", namespace, "wait", "pod", "powerless", "--for=jsonpath={.status.phase}=Failed", "--timeout=60s")
	ended := func(what string) string {
		return c.kubectl(t, "", "-n", namespace, "get", "pod", "powerless", "-o",
			"jsonpath={.status.containerStatuses[0].state.terminated."+what+"}")
	}
	if status := ended("exitCode"); status != "1" {
		t.Errorf("exit status %s, want 1", status)
	}
	log := c.kubectl(t, "", "-n", namespace, "logs", "powerless")
	if strings.Count(log, "\n") != 1 || !strings.Contains(log, "needs CAP_NET_ADMIN") || !strings.Contains(log, "securityContext.capabilities.add") {
		t.Errorf("the log is not one line that names the capability and how to add it: %q", log)
	}
	if message := ended("message"); strings.TrimSpace(message) != strings.TrimSpace(log) {
		t.Errorf("kubectl describe shows %q", message)
	}
	if after := c.onNode(t, "node1", "nft", "--stateless", "list", "ruleset"); after != before {
		t.Errorf("the kernel was changed: before\n%s\nafter\n%s", before, after)
	}
	t.Log(strings.TrimSpace(log))
}
