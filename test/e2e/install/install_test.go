//go:build e2e

package install

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/netpol-agent/netpol-agent/test/e2e/lab"
)

const namespace = "kube-system"

// TestInstall goes through the life of an installation. The steps need one another, so the first failure ends it.
func TestInstall(t *testing.T) {
	c := start(t)
	for _, step := range []struct {
		name string
		run  func(*testing.T, *cluster)
	}{
		{"the API server accepts what is rendered", acceptedByServer},
		{"helm install: an agent is ready on each node", installed},
		{"the container has NET_ADMIN and nothing else", onlyNetAdmin},
		{"a policy holds", policyHolds},
		{"without NET_ADMIN the reason is told in one line", withoutNetAdmin},
		{"helm upgrade replaces the agents and keeps the rules", upgraded},
		{"helm uninstall names a node that does not answer", uninstallNames},
		{"helm uninstall leaves nothing", uninstalled},
		{"the plain manifest, and its uninstall", plainManifest},
	} {
		if !t.Run(step.name, func(t *testing.T) { step.run(t, c) }) {
			for _, n := range c.Nodes {
				t.Logf("%s: %s", n.Name, c.tables(t, n.Name))
			}
			out, _ := c.try(t, "", "get", "pods,jobs,daemonsets,events", "-n", namespace, "-o", "wide")
			t.Fatal(out)
		}
	}
}

func acceptedByServer(t *testing.T, c *cluster) {
	text := c.helm(t, append([]string{"template", "netpol-agent"}, c.chart()...)...)
	c.kubectl(t, text, "apply", "--dry-run=server", "--validate=strict", "-f", "-")
	c.kubectl(t, "", "apply", "--dry-run=server", "--validate=strict", "-f", filepath.Join(c.repo, "deploy", "netpol-agent.yaml"))
}

func installed(t *testing.T, c *cluster) {
	c.helm(t, append([]string{"install", "netpol-agent", "--wait", "--timeout", "2m"}, c.chart()...)...)
	c.ready(t)
}

// ready waits until the DaemonSet's pods are ready on all nodes and the agents say so themselves.
func (c *cluster) ready(t *testing.T) {
	t.Helper()
	c.kubectl(t, "", "-n", namespace, "rollout", "status", "daemonset/netpol-agent", "--timeout=120s")
	got := c.kubectl(t, "", "-n", namespace, "get", "daemonset", "netpol-agent", "-o", "jsonpath={.status.numberReady}")
	if got != fmt.Sprint(len(c.Nodes)) {
		t.Fatalf("%s agents are ready, want %d", got, len(c.Nodes))
	}
	for _, n := range c.Nodes {
		if got := c.tables(t, n.Name); !strings.Contains(got, "inet netpol-agent") {
			t.Errorf("%s: tables %q", n.Name, got)
		}
	}
	out := c.kubectl(t, "", "-n", namespace, "exec", "daemonset/netpol-agent", "--", "netpol-agent", "status", "-o", "json")
	var status struct{ Ready bool }
	if err := json.Unmarshal([]byte(out), &status); err != nil || !status.Ready {
		t.Errorf("status: %s, %v", out, err)
	}
}

// netAdmin is the capability's bit, as /proc writes capability sets.
const netAdmin = "0000000000001000"

func onlyNetAdmin(t *testing.T, c *cluster) {
	for _, n := range c.Nodes {
		out, err := c.NodeExec(t.Context(), n.Name, "sh", "-c",
			`for p in /proc/[0-9]*; do tr '\0' ' ' <$p/cmdline 2>/dev/null | grep -q '^/usr/local/bin/netpol-agent run' && cat $p/status && break; done`)
		if err != nil {
			t.Fatalf("%s: no agent: %v", n.Name, err)
		}
		got := map[string]string{}
		for line := range strings.Lines(string(out)) {
			key, value, _ := strings.Cut(line, ":")
			got[key] = strings.TrimSpace(value)
		}
		for key, want := range map[string]string{
			"CapPrm": netAdmin, "CapEff": netAdmin, "CapBnd": netAdmin, "CapAmb": "0000000000000000",
			"NoNewPrivs": "1", "Seccomp": "2",
		} {
			if got[key] != want {
				t.Errorf("%s: %s is %q, want %s", n.Name, key, got[key], want)
			}
		}
	}
}

// pods are a server that one client may reach, on different nodes.
var pods = func() string {
	var b strings.Builder
	for name, node := range map[string]string{"server": "node1", "friend": "node2", "stranger": "node2"} {
		fmt.Fprintf(&b, `---
apiVersion: v1
kind: Pod
metadata: {name: %s, namespace: install-test, labels: {app: %s}}
spec:
  nodeName: %s
  terminationGracePeriodSeconds: 0
  automountServiceAccountToken: false
  containers: [{name: c, image: "%s", imagePullPolicy: Never, args: [serve, -name, hello, -tcp, "80"]}]
`, name, name, node, lab.ProbeImage)
	}
	return "apiVersion: v1\nkind: Namespace\nmetadata: {name: install-test}\n" + b.String()
}()

const policy = `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: friends, namespace: install-test}
spec:
  podSelector: {matchLabels: {app: server}}
  ingress: [{from: [{podSelector: {matchLabels: {app: friend}}}]}]
`

func policyHolds(t *testing.T, c *cluster) {
	c.kubectl(t, pods, "apply", "-f", "-")
	c.kubectl(t, "", "-n", "install-test", "wait", "pod", "--all", "--for=condition=Ready", "--timeout=60s")
	c.expect(t, true, true)
	c.kubectl(t, policy, "apply", "-f", "-")
	c.expect(t, true, false)
}

// expect waits until friend and stranger reach the server or not.
func (c *cluster) expect(t *testing.T, friend, stranger bool) {
	t.Helper()
	address := c.kubectl(t, "", "-n", "install-test", "get", "pod", "server", "-o", "jsonpath={.status.podIP}")
	for name, want := range map[string]bool{"friend": friend, "stranger": stranger} {
		eventually(t, fmt.Sprintf("%s reaches server: want %t", name, want), func() error {
			out, err := c.try(t, "", "-n", "install-test", "exec", name, "--", "nc", "-w", "2", address, "80")
			if got := strings.Contains(out, "hello"); got != want {
				return notYet("got %t, %v", got, err)
			}
			return nil
		})
	}
}

// withoutNetAdmin runs the agent as the DaemonSet does, on a node that has one, less the capability.
func withoutNetAdmin(t *testing.T, c *cluster) {
	c.kubectl(t, fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: powerless, namespace: %s}
spec:
  nodeName: node1
  hostNetwork: true
  restartPolicy: Never
  serviceAccountName: netpol-agent
  containers:
  - name: netpol-agent
    image: %s:%s
    imagePullPolicy: Never
    args: [run, --node-name=node1, --health-bind-address=0, --metrics-bind-address=0, --status-socket=@powerless]
    terminationMessagePolicy: FallbackToLogsOnError
    securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
`, namespace, c.repository, c.tag), "apply", "-f", "-")
	defer c.kubectl(t, "", "-n", namespace, "delete", "pod", "powerless", "--now")
	c.kubectl(t, "", "-n", namespace, "wait", "pod", "powerless", "--for=jsonpath={.status.phase}=Failed", "--timeout=60s")
	message := c.kubectl(t, "", "-n", namespace, "get", "pod", "powerless", "-o",
		"jsonpath={.status.containerStatuses[0].state.terminated.message}")
	if strings.Count(strings.TrimSpace(message), "\n") != 0 || !strings.Contains(message, "needs CAP_NET_ADMIN") {
		t.Errorf("the message is not one line that names the capability: %q", message)
	}
	t.Log(message)
}

func upgraded(t *testing.T, c *cluster) {
	uids := func() string {
		return c.kubectl(t, "", "-n", namespace, "get", "pods", "-l", "app.kubernetes.io/name=netpol-agent", "-o", "jsonpath={.items[*].metadata.uid}")
	}
	before := uids()
	c.helm(t, append([]string{"upgrade", "netpol-agent", "--wait", "--timeout", "2m"}, c.chart("--set", "log.level=debug")...)...)
	c.ready(t)
	for uid := range strings.FieldsSeq(uids()) {
		if strings.Contains(before, uid) {
			t.Errorf("pod %s was not replaced", uid)
		}
	}
	c.expect(t, true, false)
}
