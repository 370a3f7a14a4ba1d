package kernel

import (
	"errors"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/netpol-agent/netpol-agent/test/kernel/lab"
)

// TestKernelIsolation shows which pods are isolated, and that both ends of a connection are checked.
func TestKernelIsolation(t *testing.T) {
	runRows(t, []row{
		{
			name:    "pod selected by no policy is open",
			objects: policy("blog/deny", "podSelector: {}\npolicyTypes: [Ingress, Egress]"),
			probes: []probe{
				allow("shop/client", "shop/web", "tcp/8080"), allow("shop/client", "shop/web", "udp/5353"),
				allow("shop/client", "shop/web", "sctp/9999"), allow("shop/client", "shop/web", "icmp"),
				allow("internet", "shop/web", "tcp/8080"), allow("shop/web", "internet", "udp/53"),
				allow("shop/far", "plain/bare", "icmp"), allow("plain/bare", "shop/far", "sctp/7"),
				deny("shop/client", "blog/web", "tcp/8080"), deny("internet", "blog/web", "tcp/8080"),
				deny("blog/web", "internet", "udp/53"), deny("blog/client", "blog/web", "sctp/9999"), deny("blog/far", "blog/web", "icmp"),
			},
		},
		{
			name: "isolated pod lets in the union of its policies",
			objects: policy("shop/tcp", `
podSelector: {matchLabels: {app: web}}
ingress: [{from: [{podSelector: {matchLabels: {app: client}}}], ports: [{port: 8080}]}]`) +
				policy("shop/udp", `
podSelector: {matchLabels: {app: web}}
ingress: [{from: [{podSelector: {matchLabels: {app: api}}}], ports: [{port: 5353, protocol: UDP}]}]`) +
				policy("shop/none", "podSelector: {}\npolicyTypes: [Ingress]"),
			probes: []probe{
				allow("shop/client", "shop/web", "tcp/8080"), allow("shop/far", "shop/web", "tcp/8080"),
				allow("shop/api", "shop/web", "udp/5353"),
				deny("shop/client", "shop/web", "udp/5353"), deny("shop/api", "shop/web", "tcp/8080"),
				deny("shop/client", "shop/web", "tcp/8081"), deny("blog/client", "shop/web", "tcp/8080"),
				deny("shop/client", "shop/web", "icmp"), deny("shop/client", "shop/web", "sctp/9999"),
				deny("shop/client", "shop/api", "tcp/9090"),
			},
		},
		{
			name: "egress of the source and ingress of the destination must both allow",
			objects: policy("shop/out", `
podSelector: {matchLabels: {app: client}}
policyTypes: [Egress]
egress: [{to: [{namespaceSelector: {}}], ports: [{port: 8080}, {port: 9090}]}]`) +
				policy("shop/in", `
podSelector: {matchLabels: {app: web}}
ingress: [{from: [{podSelector: {}}], ports: [{port: 8080}, {port: 22}]}]`) +
				policy("shop/shut", "podSelector: {matchLabels: {app: api}}\npolicyTypes: [Ingress]"),
			probes: []probe{
				allow("shop/client", "shop/web", "tcp/8080"),
				deny("shop/client", "shop/web", "tcp/22"),   // the source may not
				deny("shop/client", "shop/api", "tcp/9090"), // the destination may not
				deny("shop/client", "internet", "tcp/8080"),
				allow("shop/client", "shop/far", "tcp/8080"), allow("shop/far", "shop/web", "tcp/22"),
				deny("blog/client", "shop/web", "tcp/8080"), allow("shop/client", "blog/web", "tcp/9090"),
			},
		},
		{
			name: "two pods of one node over the bridge and from another node alike",
			objects: policy("shop/in", `
podSelector: {}
ingress: [{from: [{podSelector: {matchLabels: {app: client}}}]}]`),
			probes: []probe{
				allow("shop/client", "shop/web", "tcp/80"), allow("shop/far", "shop/web", "tcp/80"),
				allow("shop/client", "shop/web", "sctp/80"), allow("shop/far", "shop/web", "sctp/80"),
				allow("shop/client", "shop/web", "icmp"), allow("shop/far", "shop/web", "icmp"),
				deny("blog/client", "shop/web", "tcp/80"), deny("blog/far", "shop/web", "tcp/80"),
				deny("blog/client", "shop/web", "icmp"), deny("blog/far", "shop/web", "icmp"),
				deny("shop/api", "shop/web", "udp/80"),
			},
		},
		{
			name: "replies pass",
			objects: policy("shop/in", "podSelector: {matchLabels: {app: client}}\npolicyTypes: [Ingress]") +
				policy("blog/out", "podSelector: {matchLabels: {app: web}}\npolicyTypes: [Egress]") +
				policy("plain/both", "podSelector: {}\npolicyTypes: [Ingress, Egress]\negress: [{}]"),
			probes: []probe{
				// The client accepts no connection, and the server may open none: only replies pass.
				allow("shop/client", "blog/web", "tcp/8080"), allow("shop/client", "blog/web", "udp/53"),
				allow("shop/client", "blog/web", "sctp/9"), allow("shop/client", "blog/web", "icmp"),
				allow("shop/client", "internet", "tcp/80"), allow("internet", "blog/web", "udp/53"),
				allow("plain/bare", "shop/far", "icmp"),
				deny("blog/web", "shop/client", "tcp/8080"), deny("blog/web", "shop/client", "udp/53"),
				deny("internet", "shop/client", "icmp"), deny("blog/web", "internet", "udp/53"), deny("shop/far", "plain/bare", "icmp"),
			},
		},
	})
}

const denyAll = "podSelector: {}\npolicyTypes: [Ingress, Egress]"

// TestKernelNodes shows what node addresses mean: a pod and its own node always reach each other. Every other address
// of a node is an ordinary one.
func TestKernelNodes(t *testing.T) {
	runRows(t, []row{
		{
			name:    "own node passes both ways at every address",
			objects: policy("shop/deny", denyAll),
			probes: []probe{
				allow("node", "shop/web", "tcp/8080"), allow("node", "shop/web", "udp/53"), allow("node", "shop/web", "icmp"), allow("node", "shop/web", "sctp/9"),
				allow("uplink", "shop/web", "tcp/8080"), allow("tunnel", "shop/web", "tcp/8080"), allow("tunnel", "shop/web", "icmp"),
				allow("shop/web", "node", "tcp/10250"), allow("shop/web", "node", "udp/53"), allow("shop/web", "node", "icmp"),
				allow("shop/web", "uplink", "tcp/10250"), allow("shop/web", "tunnel", "udp/53"),
				deny("internet", "shop/web", "tcp/8080"), deny("shop/web", "internet", "tcp/80"),
			},
		},
		{
			name: "another node is an external address",
			objects: policy("shop/deny", denyAll) + policy("blog/node", `
podSelector: {matchLabels: {app: web}}
policyTypes: [Ingress, Egress]
ingress: [{from: [{ipBlock: {cidr: 192.168.50.0/24}}, {ipBlock: {cidr: "fd00:192:168:50::/64"}}]}]
egress: [{to: [{ipBlock: {cidr: 192.168.50.2/32}}, {ipBlock: {cidr: "fd00:192:168:50::2/128"}}]}]`),
			probes: []probe{
				deny("other-node", "shop/web", "tcp/8080"), deny("other-node", "shop/web", "icmp"), deny("shop/web", "other-node", "tcp/10250"),
				allow("other-node", "blog/web", "tcp/8080"), allow("other-node", "blog/web", "icmp"), allow("blog/web", "other-node", "tcp/10250"),
			},
		},
		{
			name: "hostNetwork pods are their node's addresses",
			objects: hostNetworkPods + policy("shop/deny", denyAll) +
				// If hostNetwork pods counted as pods, these policies would isolate them and let them in.
				policy("blog/host", "podSelector: {matchLabels: {app: host}}\npolicyTypes: [Ingress, Egress]") +
				policy("blog/web", "podSelector: {matchLabels: {app: web}}\ningress: [{from: [{podSelector: {matchLabels: {app: host}}}, {namespaceSelector: {}}]}]"),
			probes: []probe{
				allow("node", "shop/web", "tcp/8080"), allow("node", "blog/web", "tcp/8080"), // their own node
				deny("other-node", "shop/web", "tcp/8080"), deny("other-node", "blog/web", "tcp/8080"),
				allow("blog/client", "blog/web", "tcp/8080"),
				allow("blog/client", "other-node", "tcp/80"), allow("blog/client", "node", "tcp/80"), allow("internet", "uplink", "tcp/80"),
			},
		},
	})
}

const hostNetworkPods = `
apiVersion: v1
kind: Pod
metadata: {name: host, namespace: blog, labels: {app: host}}
spec: {nodeName: node-1, hostNetwork: true, containers: [{name: c, image: i}]}
status: {phase: Running, podIP: 192.168.50.1, podIPs: [{ip: 192.168.50.1}, {ip: "fd00:192:168:50::1"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: far-host, namespace: blog, labels: {app: host}}
spec: {nodeName: node-2, hostNetwork: true, containers: [{name: c, image: i}]}
status: {phase: Running, podIP: 192.168.50.2, podIPs: [{ip: 192.168.50.2}, {ip: "fd00:192:168:50::2"}]}
---
`

// TestKernelPodsThatEnd shows that a pod that has ended leaves every set at once, and that a terminating one leaves
// none.
func TestKernelPodsThatEnd(t *testing.T) {
	w := newWorld(t)
	const objects = "podSelector: {matchLabels: {app: web}}\ningress: [{from: [{podSelector: {matchLabels: {app: client}}}]}]"
	for _, phase := range []corev1.PodPhase{corev1.PodSucceeded, corev1.PodFailed} {
		t.Run(string(phase), func(t *testing.T) {
			w.begin(t, policy("shop/in", objects))
			w.probe(t, allow("shop/client", "shop/web", "tcp/80"), deny("shop/api", "shop/web", "tcp/80"))
			// The peer ends: its address no longer opens anything, not even from another node.
			for _, name := range []string{"shop/client", "shop/far"} {
				w.change(name, func(p *corev1.Pod) { p.Status.Phase = phase })
			}
			w.settle(t)
			w.probe(t, deny("shop/client", "shop/web", "tcp/80"), deny("shop/far", "shop/web", "tcp/80"))
			// The isolated pod ends, and another one gets its address.
			w.change("shop/web", func(p *corev1.Pod) { p.Status.Phase = phase })
			w.tell(`
apiVersion: v1
kind: Pod
metadata: {name: heir, namespace: plain}
spec: {nodeName: node-1, containers: [{name: c, image: i}]}
status: {phase: Running, podIP: 10.244.1.10, podIPs: [{ip: 10.244.1.10}, {ip: "fd00:10:244:1::10"}]}
`)
			w.settle(t)
			w.probe(t, allow("shop/api", "plain/heir", "tcp/80"), allow("internet", "plain/heir", "udp/80"))
		})
	}
	t.Run("terminating pods stay isolated and stay peers", func(t *testing.T) {
		w.begin(t, policy("shop/in", objects))
		for _, name := range []string{"shop/client", "shop/web"} {
			w.change(name, func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{} })
		}
		w.settle(t)
		w.probe(t, allow("shop/client", "shop/web", "tcp/80"), deny("shop/api", "shop/web", "tcp/80"))
	})
	t.Run("gone", func(t *testing.T) {
		w.begin(t, policy("shop/in", objects))
		w.deletePod("shop", "client")
		w.settle(t)
		w.probe(t, deny("10.244.1.12", "shop/web", "tcp/80"), allow("shop/far", "shop/web", "tcp/80"))
	})
}

// TestKernelPodWithoutAddress shows that a pod is isolated as soon as it has an address: the rules are there before it
// is ready, even before its init containers start.
func TestKernelPodWithoutAddress(t *testing.T) {
	w := newWorld(t)
	w.begin(t, policy("shop/in", "podSelector: {}\ningress: [{from: [{podSelector: {matchLabels: {app: client}}}], ports: [{port: http}]}]")+`
apiVersion: v1
kind: Pod
metadata: {name: late, namespace: shop, labels: {app: client}}
spec: {nodeName: node-1, containers: [{name: c, image: i, ports: [{name: http, containerPort: 80}]}]}
status: {phase: Pending}
`)
	w.lab.Pod("late", addrs("10.244.1.51", "fd00:10:244:1::51")...)
	w.probe(t, deny("10.244.1.51", "shop/web", "tcp/8080"), deny("fd00:10:244:1::51", "shop/web", "tcp/8080"))
	w.change("shop/late", func(p *corev1.Pod) {
		p.Status.PodIP = "10.244.1.51"
		p.Status.PodIPs = []corev1.PodIP{{IP: "10.244.1.51"}, {IP: "fd00:10:244:1::51"}}
	})
	w.settle(t)
	w.probe(t, allow("shop/late", "shop/web", "tcp/8080"), allow("shop/client", "shop/late", "tcp/80"),
		deny("blog/client", "shop/late", "tcp/80"), deny("shop/client", "shop/late", "tcp/8080"))
}

// TestKernelAddresses shows that every address of a pod is judged, and that an address that two pods report is judged
// by the policies of both.
func TestKernelAddresses(t *testing.T) {
	twins := func(ns1, labels1, ns2, labels2 string) string {
		out := ""
		for i, l := range []string{labels1, labels2} {
			out += `
apiVersion: v1
kind: Pod
metadata: {name: twin-` + string(rune('a'+i)) + `, namespace: ` + []string{ns1, ns2}[i] + `, labels: ` + l + `}
spec: {nodeName: node-1, containers: [{name: c, image: i}]}
status: {phase: Running, podIP: 10.244.1.60, podIPs: [{ip: 10.244.1.60}]}
---
`
		}
		return out
	}
	runRows(t, []row{
		{
			name: "every address of a dual-stack pod",
			objects: policy("shop/in", `
podSelector: {matchLabels: {app: web}}
ingress: [{from: [{ipBlock: {cidr: 10.244.0.0/16}}]}]`) + policy("blog/in", `
podSelector: {matchLabels: {app: web}}
ingress: [{from: [{podSelector: {}}]}]`),
			probes: []probe{
				allow("shop/client", "shop/web", "tcp4/80"), deny("shop/client", "shop/web", "tcp6/80"),
				allow("blog/client", "blog/web", "tcp4/80"), allow("blog/client", "blog/web", "tcp6/80"),
				deny("shop/client", "blog/web", "tcp4/80"), deny("shop/client", "blog/web", "tcp6/80"),
			},
		},
		{
			name: "several addresses of one family",
			objects: `
apiVersion: v1
kind: Pod
metadata: {name: many, namespace: shop, labels: {app: many}}
spec: {nodeName: node-1, containers: [{name: c, image: i}]}
status: {phase: Running, podIP: 10.244.1.70, podIPs: [{ip: 10.244.1.71}, {ip: "fd00:10:244:1::71"}]}
---
` + policy("shop/in", "podSelector: {matchLabels: {app: many}}\ningress: [{from: [{podSelector: {matchLabels: {app: client}}}]}]"),
			probes: []probe{
				allow("shop/client", "10.244.1.70", "tcp/80"), allow("shop/client", "10.244.1.71", "tcp/80"), allow("shop/client", "fd00:10:244:1::71", "tcp/80"),
				deny("shop/api", "10.244.1.70", "tcp/80"), deny("shop/api", "10.244.1.71", "tcp/80"), deny("shop/api", "fd00:10:244:1::71", "tcp/80"),
			},
		},
		{
			name: "two pods that report one address are open where both are",
			objects: twins("shop", "{app: one}", "blog", "{app: two}") +
				policy("shop/one", "podSelector: {matchLabels: {app: one}}\ningress: [{from: [{ipBlock: {cidr: 10.244.1.0/24}}], ports: [{port: 80}, {port: 81}]}]") +
				policy("blog/two", "podSelector: {matchLabels: {app: two}}\ningress: [{from: [{namespaceSelector: {matchLabels: {team: shop}}}], ports: [{port: 81}, {port: 82}]}]"),
			probes: []probe{
				deny("shop/client", "shop/twin-a", "tcp4/80"), allow("shop/client", "shop/twin-a", "tcp4/81"), deny("shop/client", "shop/twin-a", "tcp4/82"),
				deny("blog/client", "shop/twin-a", "tcp4/81"), deny("shop/far", "shop/twin-a", "tcp4/81"),
			},
		},
		{
			name: "one isolated and one open pod at one address",
			objects: twins("shop", "{app: one}", "blog", "{app: two}") +
				policy("shop/one", "podSelector: {matchLabels: {app: one}}\ningress: [{ports: [{port: 80}]}]"),
			probes: []probe{allow("shop/client", "shop/twin-a", "tcp4/80"), deny("shop/client", "blog/twin-b", "tcp4/81")},
		},
	})
}

// TestKernelPodToItself shows that a pod reaches its own address whatever its policies say: the packet never leaves the
// pod. TestKernelServices covers the way through the pod's own Service.
func TestKernelPodToItself(t *testing.T) {
	runRows(t, []row{{
		name:    "pod to its own address",
		objects: policy("shop/deny", denyAll),
		probes:  []probe{allow("shop/web", "shop/web", "tcp/8080"), allow("shop/web", "shop/web", "udp/53"), allow("shop/web", "shop/web", "icmp")},
	}})
}

// TestKernelPortlessProtocols shows that only rules without ports let protocols without ports pass, among them echoes.
func TestKernelPortlessProtocols(t *testing.T) {
	w := newWorld(t)
	w.begin(t, policy("shop/ports", `
podSelector: {matchLabels: {app: web}}
policyTypes: [Ingress, Egress]
ingress: [{ports: [{protocol: TCP}, {protocol: UDP}, {protocol: SCTP}]}]
egress: [{ports: [{port: 1, endPort: 65535}]}]`)+policy("shop/any", `
podSelector: {matchLabels: {app: api}}
policyTypes: [Ingress, Egress]
ingress: [{from: [{podSelector: {matchLabels: {app: client}}}]}]
egress: [{to: [{podSelector: {matchLabels: {app: client}}}]}]`))
	w.probe(t,
		deny("shop/client", "shop/web", "icmp"), deny("internet", "shop/web", "icmp"), deny("shop/web", "shop/client", "icmp"), deny("shop/web", "internet", "icmp"),
		allow("shop/client", "shop/web", "tcp/8080"), allow("shop/client", "shop/web", "udp/1"), allow("shop/client", "shop/web", "sctp/65535"),
		allow("shop/client", "shop/api", "icmp"), allow("shop/api", "shop/client", "icmp"), allow("shop/api", "shop/far", "icmp"),
		deny("internet", "shop/api", "icmp"), deny("blog/client", "shop/api", "icmp"), deny("shop/api", "internet", "icmp"),
	)
	const gre, esp = 47, 50
	for _, protocol := range []uint8{gre, esp} {
		for i := range 2 {
			web, api, client, internet := w.end(t, "shop/web")[i], w.end(t, "shop/api")[i], w.end(t, "shop/client")[i], hosts["internet"][i]
			w.inject(t, lab.Packet{Src: client, Dst: web, Protocol: protocol}, false)
			w.inject(t, lab.Packet{Src: web, Dst: internet, Protocol: protocol}, false)
			w.inject(t, lab.Packet{Src: client, Dst: api, Protocol: protocol}, true)
			w.inject(t, lab.Packet{Src: internet, Dst: api, Protocol: protocol}, false)
		}
	}
}

// TestKernelNeighbourDiscovery shows that IPv6 works where nothing is allowed: neighbour discovery and router messages
// pass between pods, while all other ICMPv6 is judged.
func TestKernelNeighbourDiscovery(t *testing.T) {
	w := newWorld(t)
	w.begin(t, policy("shop/deny", denyAll))
	client, web := w.end(t, "shop/client")[1], w.end(t, "shop/web")[1]
	// The bridge carries a real resolution: a packet to a neighbour whose link address is not known yet appears only after
	// the solicitation has been answered.
	w.probe(t, deny("shop/client", "shop/web", "udp6/9"))
	solicitation := func(p *lab.Packet) bool { return p.Src == client && p.Protocol == lab.ICMPv6 && p.Type == 135 }
	advertisement := func(p *lab.Packet) bool {
		return p.Src == web && p.Dst == client && p.Protocol == lab.ICMPv6 && p.Type == 136
	}
	for _, match := range []func(*lab.Packet) bool{solicitation, advertisement} {
		if s, err := w.witness.Count(match); err != nil || s.Before == 0 || s.After != s.Before {
			t.Errorf("neighbour discovery: seen %+v, %v", s, err)
		}
	}
	for _, typ := range []uint8{133, 134, 135, 136, 137} {
		w.inject(t, lab.Packet{Src: client, Dst: web, Protocol: lab.ICMPv6, Type: typ, Payload: make([]byte, 24)}, true)
	}
	for _, typ := range []uint8{128, 130, 132, 138, 143} {
		w.inject(t, lab.Packet{Src: client, Dst: web, Protocol: lab.ICMPv6, Type: typ, Payload: make([]byte, 24)}, false)
	}
}

// inject sends a packet by hand from where its source lives, and compares all readings with the expected verdict.
func (w *world) inject(t *testing.T, p lab.Packet, pass bool) {
	t.Helper()
	home := w.lab.Home(p.Src)
	w.injectFrom(t, home, p, pass)
}

func (w *world) injectFrom(t *testing.T, from *lab.Namespace, p lab.Packet, pass bool) {
	t.Helper()
	p.ID = w.lab.ID()
	f := flow{
		probe: probe{from: p.Src.String(), to: p.Dst.String(), what: "a packet by hand", pass: pass}, protocol: p.Protocol,
		src: netip.AddrPortFrom(p.Src, 0), dst: netip.AddrPortFrom(p.Dst, p.DstPort),
	}
	judged := f.packet()
	judged.ICMPv6Type = 0
	if p.Protocol == lab.ICMPv6 {
		judged.ICMPv6Type = p.Type
	}
	for name, got := range w.readings(judged) {
		if got.pass != pass {
			t.Errorf("%s: the %s disagrees:\n%s", p, name, got.why)
		}
	}
	w.lab.Node.FlushConntrack(t) // a protocol without ports has one flow between two addresses
	// The output hook reports a drop to the sender as an error.
	if err := from.Inject(p); err != nil && !(errors.Is(err, unix.EPERM) && !pass) {
		t.Errorf("%s: %v", p, err)
		return
	}
	mine := func(seen *lab.Packet) bool {
		return seen.ID == p.ID && seen.Src == p.Src && seen.Protocol == p.Protocol
	}
	s, err := w.witness.Await(t.Context(), 1, mine)
	if err != nil || (s.After > 0) != pass {
		t.Errorf("%s: must pass: %t, the witness saw %+v, %v", p, pass, s, err)
	}
}
