package cli

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/netpol-agent/netpol-agent/internal/compiler/evaluator"
	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/manifest"
)

// oddPods are pods that a reading of their objects can mistake. Those with the label app=shut are closed to all; the one
// with app=named is open at its port http.
const oddPods = `
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Node, metadata: {name: w1}, status: {addresses: [{type: Hostname, address: w1}, {type: InternalIP, address: 192.0.2.1}]}}
- {apiVersion: v1, kind: Node, metadata: {name: w2}, status: {addresses: [{type: InternalIP, address: 192.0.2.2}]}}
- apiVersion: networking.k8s.io/v1
  kind: NetworkPolicy
  metadata: {name: shut}
  spec: {podSelector: {matchLabels: {app: shut}}}
- apiVersion: networking.k8s.io/v1
  kind: NetworkPolicy
  metadata: {name: named}
  spec: {podSelector: {matchLabels: {app: named}}, ingress: [{ports: [{port: http}]}]}
- {apiVersion: v1, kind: Pod, metadata: {name: client}, spec: {nodeName: w1}, status: {podIPs: [{ip: 10.0.1.1}, {ip: "fd00::1"}]}}
- {apiVersion: v1, kind: Pod, metadata: {name: zoned, labels: {app: shut}}, spec: {nodeName: w2}, status: {podIPs: [{ip: "fd00::2%eth0"}]}}
- {apiVersion: v1, kind: Pod, metadata: {name: mapped, labels: {app: shut}}, spec: {nodeName: w2}, status: {podIPs: [{ip: "::ffff:10.0.2.3"}]}}
- {apiVersion: v1, kind: Pod, metadata: {name: one-ip, labels: {app: shut}}, spec: {nodeName: w2}, status: {podIP: 10.0.2.4}}
- {apiVersion: v1, kind: Pod, metadata: {name: a-open}, spec: {nodeName: w1, containers: [{name: c, ports: [{name: http, containerPort: 80}]}]}, status: {podIP: 10.0.2.5}}
- {apiVersion: v1, kind: Pod, metadata: {name: a-shut, labels: {app: shut}}, spec: {nodeName: w1}, status: {podIP: 10.0.2.5}}
- {apiVersion: v1, kind: Pod, metadata: {name: b-shut, labels: {app: shut}}, spec: {nodeName: w1}, status: {podIP: 10.0.2.6}}
- {apiVersion: v1, kind: Pod, metadata: {name: b-too, labels: {app: shut}}, spec: {nodeName: w2}, status: {podIP: 10.0.2.6}}
- {apiVersion: v1, kind: Pod, metadata: {name: done, labels: {app: shut}}, spec: {nodeName: w2}, status: {phase: Succeeded, podIP: 10.0.2.7}}
- {apiVersion: v1, kind: Pod, metadata: {name: failed, labels: {app: shut}}, spec: {nodeName: w2}, status: {phase: Failed, podIP: 10.0.2.8}}
- {apiVersion: v1, kind: Pod, metadata: {name: successor}, spec: {nodeName: w2}, status: {phase: Running, podIP: 10.0.2.8}}
- {apiVersion: v1, kind: Pod, metadata: {name: host, labels: {app: shut}}, spec: {nodeName: w2, hostNetwork: true}, status: {hostIP: 192.0.2.2, podIP: 192.0.2.2}}
- {apiVersion: v1, kind: Pod, metadata: {name: ending, labels: {app: shut}, deletionTimestamp: "2026-01-01T00:00:00Z"}, spec: {nodeName: w2}, status: {phase: Running, podIP: 10.0.2.9}}
- apiVersion: v1
  kind: Pod
  metadata: {name: named, labels: {app: named}}
  spec: {nodeName: w2, containers: [{name: c, ports: [{name: http, containerPort: 8080}, {name: http, containerPort: 8081}]}]}
  status: {podIP: 10.0.2.10}
- apiVersion: v1
  kind: Pod
  metadata: {name: no-number, labels: {app: named}}
  spec: {nodeName: w2, containers: [{name: c, ports: [{name: http, containerPort: 0}, {name: http, containerPort: 8081}]}]}
  status: {podIP: 10.0.2.11}
- {apiVersion: v1, kind: Pod, metadata: {name: none, labels: {app: shut}}, spec: {nodeName: w2}}
`

func oddObjects(t *testing.T) *objects {
	t.Helper()
	loaded, problems := manifest.Read("odd", []byte(oddPods), manifest.Options{})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return &objects{pods: loaded.Pods, namespaces: withImplied(loaded), policies: loaded.Policies, nodes: loaded.Nodes}
}

// TestExplainAgreesWithAgents asks explain about a pod, and then the programs of the agents about its packet.
func TestExplainAgreesWithAgents(t *testing.T) {
	objs := oddObjects(t)
	for _, tt := range []struct {
		from, to, port string
		packet         string // "source destination port"
		who, verdict   string // what explain takes the destination for, and its verdict
	}{
		{"client", "zoned", "80", "fd00::1 fd00::2 80", "default/zoned", denied},
		{"client", "fd00::2", "80", "fd00::1 fd00::2 80", "default/zoned", denied},
		{"client", "fd00::2%eth0", "80", "fd00::1 fd00::2 80", "default/zoned", denied},
		{"client", "mapped", "80", "10.0.1.1 10.0.2.3 80", "default/mapped", denied},
		{"::ffff:10.0.1.1", "::ffff:10.0.2.3", "80", "10.0.1.1 10.0.2.3 80", "default/mapped", denied},
		{"client", "one-ip", "80", "10.0.1.1 10.0.2.4 80", "default/one-ip", denied},
		{"client", "10.0.2.5", "80", "10.0.1.1 10.0.2.5 80", "default/a-open and default/a-shut", denied},
		{"client", "a-open", "http", "10.0.1.1 10.0.2.5 80", "default/a-open", denied},
		{"192.0.2.1", "10.0.2.5", "80", "192.0.2.1 10.0.2.5 80", "default/a-open and default/a-shut", allowed},
		{"192.0.2.1", "10.0.2.6", "80", "192.0.2.1 10.0.2.6 80", "default/b-shut and default/b-too", denied},
		{"192.0.2.2", "10.0.2.6", "80", "192.0.2.2 10.0.2.6 80", "default/b-shut and default/b-too", denied},
		{"client", "10.0.2.7", "80", "10.0.1.1 10.0.2.7 80", "10.0.2.7", allowed},
		{"client", "10.0.2.8", "80", "10.0.1.1 10.0.2.8 80", "default/successor", allowed},
		{"client", "host", "80", "10.0.1.1 192.0.2.2 80", "default/host", allowed},
		{"client", "192.0.2.2", "80", "10.0.1.1 192.0.2.2 80", "192.0.2.2", allowed},
		{"client", "ending", "80", "10.0.1.1 10.0.2.9 80", "default/ending", denied},
		{"host", "ending", "80", "192.0.2.2 10.0.2.9 80", "default/ending", allowed},
		{"client", "named", "http", "10.0.1.1 10.0.2.10 8080", "default/named", allowed},
		{"client", "named", "8081", "10.0.1.1 10.0.2.10 8081", "default/named", denied},
		{"client", "no-number", "8081", "10.0.1.1 10.0.2.11 8081", "default/no-number", denied},
	} {
		t.Run(tt.from+" to "+tt.to+" "+tt.port, func(t *testing.T) {
			a, err := question(tt.from, tt.to, tt.port).answer(objs)
			if err != nil {
				t.Fatal(err)
			}
			if a.To != tt.who || a.Verdict != tt.verdict {
				t.Errorf("explain: %s to %q, want %s to %q: %+v", a.Verdict, a.To, tt.verdict, tt.who, a.Pairs)
			}
			if got := agents(t, objs, tt.packet); got != tt.verdict {
				t.Errorf("the agents: %s, explain: %s", got, a.Verdict)
			}
		})
	}
}

// TestExplainRefuses asks what has no answer, because no packet can be meant.
func TestExplainRefuses(t *testing.T) {
	objs := oddObjects(t)
	for _, tt := range []struct{ to, port, want string }{
		{"done", "80", "--to: pod default/done is Succeeded and no longer has an address"},
		{"failed", "80", "--to: pod default/failed is Failed and no longer has an address"},
		{"none", "80", "--to: pod default/none has no IP address yet (status.podIPs)"},
		{"no-number", "http", "--port: pod default/no-number names none of its ports: give the port's number"},
		{"10.0.2.5", "http", "--port: pod default/a-shut names none of its ports: give the port's number"},
	} {
		if _, err := question("client", tt.to, tt.port).answer(objs); err == nil || err.Error() != tt.want {
			t.Errorf("to %s, port %s: error %v, want %s", tt.to, tt.port, err, tt.want)
		}
	}
}

func question(from, to, port string) *explainFlags {
	return &explainFlags{
		files: fileFlags{namespace: "default"}, from: from, to: to, port: port, protocol: &choice{value: "TCP"},
	}
}

// agents returns the verdict of all nodes' agents on a packet: each knows its own node, and every one must let it pass.
func agents(t *testing.T, objs *objects, packet string) string {
	t.Helper()
	f := strings.Fields(packet)
	port, err := question("", "", f[2]).portOf(nil)
	if err != nil {
		t.Fatal(err)
	}
	pkt := evaluator.Packet{Src: netip.MustParseAddr(f[0]), Dst: netip.MustParseAddr(f[1]), Protocol: program.TCP, DstPort: port}
	for node, addr := range map[string]string{"w1": "192.0.2.1", "w2": "192.0.2.2"} {
		c := objs.compile(node)
		c.SetNodeAddrs([]netip.Addr{netip.MustParseAddr(addr)})
		if evaluator.Evaluate(c.Program(), pkt).Verdict != program.Accept {
			return denied
		}
	}
	return allowed
}
