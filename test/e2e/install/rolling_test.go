//go:build e2e

package install

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/netpol-agent/netpol-agent/test/e2e/install/traffic"
)

// pace is the time between two packets of a stream: 25 streams, each 100 times a second.
const pace = 10 * time.Millisecond

// streams returns a stream for each pair of a client and a server, with what the policies say about it.
func (c *cluster) streams(t *testing.T) []traffic.Stream {
	t.Helper()
	ends := map[string]traffic.End{}
	for _, p := range podList {
		ends[p.name] = c.end(t, p.name, p.node)
	}
	var all []traffic.Stream
	for _, client := range []string{"friend1", "friend2", "stranger1", "stranger2", "confined"} {
		for _, server := range []string{"server1", "server2"} {
			permitted := strings.HasPrefix(client, "friend") || client == "confined" && server == "server1"
			kinds := []traffic.Kind{traffic.Connects, traffic.Flows}
			if permitted {
				kinds = append(kinds, traffic.Connection)
			}
			for _, kind := range kinds {
				all = append(all, traffic.Stream{From: ends[client], To: ends[server], Kind: kind, Permitted: permitted})
			}
		}
	}
	return all
}

// end finds a pod's network namespace through the process of its container.
func (c *cluster) end(t *testing.T, pod, node string) traffic.End {
	t.Helper()
	status := strings.Fields(c.kubectl(t, "", "-n", "install-test", "get", "pod", pod, "-o",
		"jsonpath={.status.podIP} {.status.containerStatuses[0].containerID}"))
	address, err := netip.ParseAddr(status[0])
	if err != nil {
		t.Fatal(err)
	}
	id := strings.TrimPrefix(status[1], "containerd://")
	for line := range strings.Lines(c.onNode(t, node, "ctr", "--namespace", "k8s.io", "tasks", "list")) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == id {
			n, err := c.Node(node)
			if err != nil {
				t.Fatal(err)
			}
			// The PID is the node's, and so is the /proc in which it is looked up.
			return traffic.End{Name: pod, NetNS: filepath.Join(n.Machine.Root(), "proc", fields[1], "ns", "net"), Addr: address}
		}
	}
	t.Fatalf("no task %s of pod %s on %s", id, pod, node)
	return traffic.End{}
}

// during keeps all streams running while f runs and for a moment before and after.
func (c *cluster) during(t *testing.T, f func()) []traffic.Result {
	t.Helper()
	tr, err := traffic.Start(t.Context(), c.streams(t), pace)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(500 * time.Millisecond)
	f()
	time.Sleep(500 * time.Millisecond)
	return tr.Stop()
}

// undisturbed checks that nothing permitted is lost and nothing forbidden comes through while f runs.
func (c *cluster) undisturbed(t *testing.T, f func()) {
	t.Helper()
	began := time.Now()
	permitted, forbidden := 0, 0
	for _, r := range c.during(t, f) {
		if r.Permitted {
			permitted += r.Sent
		} else {
			forbidden += r.Sent
		}
		if wrong := r.Wrong(); wrong != "" {
			t.Error(wrong)
		}
	}
	t.Logf("%d permitted and %d forbidden in %.1f s", permitted, forbidden, time.Since(began).Seconds())
	// Fewer would mean that there was hardly any traffic.
	if permitted < 500 || forbidden < 200 {
		t.Error("too few to show anything")
	}
}

// streamsSee checks that the streams can fail: without policies, forbidden traffic comes through, and with a policy
// that forbids everything, permitted traffic is lost.
func streamsSee(t *testing.T, c *cluster) {
	c.undisturbed(t, func() {})
	results := c.during(t, func() {
		c.kubectl(t, policies, "delete", "-f", "-")
		c.expect(t, true, true)
	})
	for _, r := range results {
		if wrong := r.Wrong() != ""; wrong == r.Permitted {
			t.Errorf("without policies: %s: sent %d, arrived %d, answered %d", r, r.Sent, r.Arrived, r.Answered)
		}
	}
	deny := "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: deny, namespace: install-test}\nspec: {podSelector: {}}\n"
	results = c.during(t, func() {
		c.kubectl(t, deny, "apply", "-f", "-")
		c.expect(t, false, false)
	})
	for _, r := range results {
		if r.Permitted && r.Wrong() == "" {
			t.Errorf("with everything forbidden: %s: sent %d, arrived %d, answered %d", r, r.Sent, r.Arrived, r.Answered)
		}
	}
	c.kubectl(t, policies, "apply", "-f", "-")
	c.kubectl(t, deny, "delete", "-f", "-")
	c.expect(t, true, false)
}

func restartedUnderTraffic(t *testing.T, c *cluster) {
	c.undisturbed(t, func() {
		c.replaced(t, func() { c.kubectl(t, "", "-n", namespace, "rollout", "restart", "daemonset/netpol-agent") })
	})
}

// upgradedUnderTraffic gives the same content another tag. To the cluster it is another image.
func upgradedUnderTraffic(t *testing.T, c *cluster) {
	tag := fmt.Sprintf("%s-next-%d", c.Image().Version, time.Now().Unix())
	for _, n := range c.Nodes {
		c.onNode(t, n.Name, "ctr", "--namespace", "k8s.io", "images", "tag", c.Image().Name(), c.Image().Repository+":"+tag)
	}
	c.undisturbed(t, func() {
		c.replaced(t, func() {
			if err := c.Install(t.Context(), "--set-string", "image.tag="+tag, "--set", "log.level=debug"); err != nil {
				t.Fatal(err)
			}
		})
	})
	for _, image := range strings.Fields(c.kubectl(t, "", "-n", namespace, "get", "pods", "-l", "app.kubernetes.io/name=netpol-agent",
		"-o", "jsonpath={.items[*].spec.containers[0].image}")) {
		if !strings.HasSuffix(image, ":"+tag) {
			t.Errorf("an agent runs %s, want tag %s", image, tag)
		}
	}
}

// replaced checks that f replaces every agent, and that none of them restarts.
func (c *cluster) replaced(t *testing.T, f func()) {
	t.Helper()
	old, err := c.Agents(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f()
	c.enforcing(t)
	agents, err := c.Agents(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(agents) != len(c.Nodes) {
		t.Errorf("%d agents, want %d", len(agents), len(c.Nodes))
	}
	for _, a := range agents {
		for _, o := range old {
			if a.UID == o.UID {
				t.Errorf("%s on %s was not replaced", a.Pod, a.Node)
			}
		}
		if a.Restarts > 0 {
			t.Errorf("%s on %s was restarted %d times: %s", a.Pod, a.Node, a.Restarts, a.Trouble)
		}
	}
}
