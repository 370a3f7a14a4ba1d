//go:build e2e

package install

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/netpol-agent/netpol-agent/test/e2e/deploy"
	"github.com/netpol-agent/netpol-agent/test/e2e/lab"
)

const namespace = deploy.Namespace

// TestInstall goes through the life of an installation. Each step needs the ones before it, so the first failure
// ends the test.
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
		{"the streams see what passes and what is lost", streamsSee},
		{"kubectl rollout restart under traffic", restartedUnderTraffic},
		{"helm upgrade to another image under traffic", upgradedUnderTraffic},
		{"helm upgrade to other backends under traffic", backendsUnderTraffic},
		{"helm uninstall names a node that does not answer", uninstallNames},
		{"an uninstall that failed can be taken back", takenBack},
		{"helm uninstall leaves nothing", uninstalled},
		{"without NET_ADMIN the reason is told in one line", withoutNetAdmin},
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

// installed uses the command in the chart's README, plus what only this cluster needs.
func installed(t *testing.T, c *cluster) {
	if err := c.Install(t.Context(), "--wait", "--timeout", "2m"); err != nil {
		t.Fatal(err)
	}
	c.enforcing(t)
}

// enforcing waits until all agents enforce, and checks that there are rules and that the program in a pod reports
// ready.
func (c *cluster) enforcing(t *testing.T) {
	t.Helper()
	if err := c.WaitEnforcing(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, n := range c.Nodes {
		if got := c.tables(t, n.Name); !strings.Contains(got, "inet netpol-agent") {
			t.Errorf("%s: tables %q", n.Name, got)
		}
	}
	out := c.kubectl(t, "", "-n", namespace, "exec", "daemonset/netpol-agent", "--", "netpol-agent", "status", "-o", "json")
	var status deploy.Status
	if err := json.Unmarshal([]byte(out), &status); err != nil || !status.Ready {
		t.Errorf("status: %s, %v", out, err)
	}
}

// pods are two servers, each with a friend and a stranger on its own node and on the other, and one friend whose own
// egress is confined.
var pods = func() string {
	var b strings.Builder
	b.WriteString("apiVersion: v1\nkind: Namespace\nmetadata: {name: install-test}\n")
	for _, p := range podList {
		fmt.Fprintf(&b, `---
apiVersion: v1
kind: Pod
metadata: {name: %s, namespace: install-test, labels: {app: %s, name: %s}}
spec:
  nodeName: %s
  terminationGracePeriodSeconds: 0
  automountServiceAccountToken: false
  containers: [{name: c, image: "%s", imagePullPolicy: Never, args: [serve, -name, hello, -tcp, "80"]}]
`, p.name, p.app, p.name, p.node, lab.ProbeImage)
	}
	return b.String()
}()

var podList = []struct{ name, app, node string }{
	{"server1", "server", "node1"},
	{"server2", "server", "node2"},
	{"friend1", "friend", "node1"},
	{"friend2", "friend", "node2"},
	{"stranger1", "stranger", "node1"},
	{"stranger2", "stranger", "node2"},
	{"confined", "friend", "node2"},
}

// policies let friends in, and let confined out to server1 only.
const policies = `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: friends, namespace: install-test}
spec:
  podSelector: {matchLabels: {app: server}}
  ingress: [{from: [{podSelector: {matchLabels: {app: friend}}}]}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: confined, namespace: install-test}
spec:
  podSelector: {matchLabels: {name: confined}}
  policyTypes: [Egress]
  egress: [{to: [{podSelector: {matchLabels: {name: server1}}}]}]
`

func policyHolds(t *testing.T, c *cluster) {
	c.kubectl(t, pods, "apply", "-f", "-")
	c.kubectl(t, "", "-n", "install-test", "wait", "pod", "--all", "--for=condition=Ready", "--timeout=60s")
	c.expect(t, true, true)
	c.kubectl(t, policies, "apply", "-f", "-")
	c.expect(t, true, false)
}

// expect waits until the other node's friend and stranger reach server1, or do not, as given.
func (c *cluster) expect(t *testing.T, friend, stranger bool) {
	t.Helper()
	address := c.kubectl(t, "", "-n", "install-test", "get", "pod", "server1", "-o", "jsonpath={.status.podIP}")
	for name, want := range map[string]bool{"friend2": friend, "stranger2": stranger} {
		eventually(t, fmt.Sprintf("%s reaches server1: want %t", name, want), func() error {
			out, err := c.try(t, "", "-n", "install-test", "exec", name, "--", "nc", "-w", "1", address, "80")
			if got := strings.Contains(out, "hello"); got != want {
				return notYet("got %t, %v", got, err)
			}
			return nil
		})
	}
}
