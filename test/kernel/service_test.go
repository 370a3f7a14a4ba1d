package kernel

import (
	"testing"

	"github.com/netpol-agent/netpol-agent/test/kernel/lab"
)

// serviceProxy does for the lab's node what kube-proxy does: on the way in it replaces a Service's address with a
// pod's, and it replaces a source to which the answer would not come back through the node with the node's address.
const serviceProxy = `
table inet services {
	chain translate {
		ip daddr 10.96.0.10 meta l4proto { tcp, udp, sctp } th dport 80 dnat ip to 10.244.1.10:8080
		ip6 daddr fd00:10:96::10 meta l4proto { tcp, udp, sctp } th dport 80 dnat ip6 to [fd00:10:244:1::10]:8080
		ip daddr 10.96.0.11 tcp dport 80 dnat ip to 10.244.2.10:7070
		ip6 daddr fd00:10:96::11 tcp dport 80 dnat ip6 to [fd00:10:244:2::10]:7070
		ip daddr 192.168.50.1 tcp dport 30080 dnat ip to 10.244.1.10:8080
		ip6 daddr fd00:192:168:50::1 tcp dport 30080 dnat ip6 to [fd00:10:244:1::10]:8080
	}
	chain in {
		type nat hook prerouting priority dstnat
		jump translate
	}
	chain local {
		type nat hook output priority -100
		jump translate
	}
	chain out {
		type nat hook postrouting priority srcnat
		ct status dnat ip saddr 10.244.1.10 ip daddr 10.244.1.10 masquerade
		ct status dnat ip6 saddr fd00:10:244:1::10 ip6 daddr fd00:10:244:1::10 masquerade
		ct original ip daddr 192.168.50.1 masquerade
		ct original ip6 daddr fd00:192:168:50::1 masquerade
	}
}
`

// through turns probes into ones that go through a Service, one of each family.
func through(p probe, protocol, port, v4, v6 string) []probe {
	four, six := p, p
	four.what, four.via = protocol+"4/"+port, v4
	six.what, six.via = protocol+"6/"+port, v6
	return []probe{four, six}
}

func viaWeb(p probe) []probe {
	return through(p, "tcp", "8080", "10.96.0.10:80", "[fd00:10:96::10]:80")
}

func viaFar(p probe) []probe {
	return through(p, "tcp", "7070", "10.96.0.11:80", "[fd00:10:96::11]:80")
}

func viaNodePort(p probe) []probe {
	return through(p, "tcp", "8080", "192.168.50.1:30080", "[fd00:192:168:50::1]:30080")
}

func join(lists ...[]probe) []probe {
	var out []probe
	for _, l := range lists {
		out = append(out, l...)
	}
	return out
}

// TestKernelServices shows that policies see the pod's address and the pod's port, after destination NAT, and the
// client's own address, before source NAT.
func TestKernelServices(t *testing.T) {
	w := newWorld(t)
	w.lab.Node.NFT(t, serviceProxy)
	for _, r := range []row{
		{
			name: "without policies",
			probes: join(viaWeb(allow("shop/client", "shop/web", "")), viaFar(allow("shop/client", "shop/far", "")), viaNodePort(allow("internet", "shop/web", "")),
				through(allow("shop/client", "shop/web", ""), "udp", "8080", "10.96.0.10:80", "[fd00:10:96::10]:80")),
		},
		{
			name: "ingress: the pod's port and the client's address",
			objects: policy("shop/in", "podSelector: {matchLabels: {app: web}}\ningress: [{from: [{podSelector: {matchLabels: {app: client}}}], ports: [{port: 8080}]}]") +
				policy("blog/in", "podSelector: {}"),
			probes: join(viaWeb(allow("shop/client", "shop/web", "")), viaWeb(deny("blog/client", "shop/web", "")), viaWeb(deny("shop/api", "shop/web", "")),
				through(deny("shop/client", "shop/web", ""), "udp", "8080", "10.96.0.10:80", "[fd00:10:96::10]:80"), viaNodePort(deny("internet", "shop/web", ""))),
		},
		{
			name:    "ingress: the Service's own port is nobody's",
			objects: policy("shop/in", "podSelector: {matchLabels: {app: web}}\ningress: [{ports: [{port: 80}, {port: 30080}]}]"),
			probes:  join(viaWeb(deny("shop/client", "shop/web", "")), viaNodePort(deny("internet", "shop/web", ""))),
		},
		{
			name: "egress: the pod behind the Service",
			objects: policy("shop/out", "podSelector: {matchLabels: {app: client}}\npolicyTypes: [Egress]\negress: [{to: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: http}]}]") +
				policy("blog/out", "podSelector: {}\npolicyTypes: [Egress]\negress: [{to: [{ipBlock: {cidr: 10.96.0.0/12}}, {ipBlock: {cidr: \"fd00:10:96::/64\"}}]}]"),
			probes: join(viaWeb(allow("shop/client", "shop/web", "")), viaFar(deny("shop/client", "shop/far", "")),
				viaWeb(deny("blog/client", "shop/web", "")), viaFar(deny("blog/client", "shop/far", "")), viaFar(allow("shop/api", "shop/far", ""))),
		},
		{
			name:    "a pod reaches itself through its own Service",
			objects: policy("shop/deny", denyAll),
			probes: join(viaWeb(allow("shop/web", "shop/web", "")), through(allow("shop/web", "shop/web", ""), "udp", "8080", "10.96.0.10:80", "[fd00:10:96::10]:80"),
				viaWeb(deny("shop/client", "shop/web", "")), viaFar(deny("shop/web", "shop/far", ""))),
		},
		{
			name:    "a node port: the client's address, although the pod sees the node's",
			objects: policy("shop/in", "podSelector: {matchLabels: {app: web}}\ningress: [{from: [{ipBlock: {cidr: 192.0.2.0/24}}, {ipBlock: {cidr: \"2001:db8::/64\"}}], ports: [{port: 8080}]}]"),
			probes:  join(viaNodePort(allow("internet", "shop/web", "")), viaNodePort(deny("net-1", "shop/web", "")), viaNodePort(deny("other-node", "shop/web", ""))),
		},
		{
			name:    "the node reaches its pods through a Service",
			objects: policy("shop/deny", denyAll),
			probes:  join(viaWeb(allow("node", "shop/web", "")), viaFar(allow("uplink", "shop/far", ""))),
		},
	} {
		t.Run(r.name, func(t *testing.T) {
			w.begin(t, r.objects)
			w.probe(t, r.probes...)
		})
	}
}

// TestKernelOutputHook shows that packets that leave through the output hook with an address that is not the node's are
// judged. IPVS sends such packets, and they never pass the forward hook.
func TestKernelOutputHook(t *testing.T) {
	w := newWorld(t)
	w.begin(t, policy("shop/in", "podSelector: {matchLabels: {app: web}}\ningress: [{from: [{podSelector: {matchLabels: {app: client}}}], ports: [{port: 80}, {protocol: SCTP, port: 80}]}]")+
		policy("blog/out", "podSelector: {}\npolicyTypes: [Egress]\negress: [{to: [{namespaceSelector: {matchLabels: {team: blog}}}]}]"))
	for i := range 2 {
		web, client := w.end(t, "shop/web")[i], w.end(t, "shop/client")[i]
		for _, c := range []struct {
			p    lab.Packet
			pass bool
		}{
			{lab.Packet{Src: client, Dst: web, Protocol: lab.TCP, DstPort: 80}, true},
			{lab.Packet{Src: client, Dst: web, Protocol: lab.SCTP, DstPort: 80}, true},
			{lab.Packet{Src: w.end(t, "shop/far")[i], Dst: web, Protocol: lab.TCP, DstPort: 80}, true},
			{lab.Packet{Src: client, Dst: web, Protocol: lab.TCP, DstPort: 81}, false},
			{lab.Packet{Src: hosts["internet"][i], Dst: web, Protocol: lab.TCP, DstPort: 80}, false},
			{lab.Packet{Src: hosts["other-node"][i], Dst: web, Protocol: lab.TCP, DstPort: 80}, false},
			{lab.Packet{Src: w.end(t, "blog/client")[i], Dst: web, Protocol: lab.TCP, DstPort: 80}, false},
			{lab.Packet{Src: w.end(t, "blog/client")[i], Dst: w.end(t, "blog/web")[i], Protocol: lab.UDP, DstPort: 1}, true},
			{lab.Packet{Src: w.end(t, "blog/client")[i], Dst: w.end(t, "plain/bare")[i], Protocol: lab.UDP, DstPort: 1}, false},
			{lab.Packet{Src: hosts["node"][i], Dst: web, Protocol: lab.UDP, DstPort: 9}, true},
			{lab.Packet{Src: hosts["tunnel"][i], Dst: web, Protocol: lab.TCP, DstPort: 9}, true},
		} {
			c.p.SrcPort = w.lab.ID()
			w.injectFrom(t, w.lab.Node, c.p, c.pass)
			pass, why := w.backend.trace(w.comp.Program(), tracedPacket{
				src: c.p.Src, dst: c.p.Dst, protocol: c.p.Protocol, dstPort: c.p.DstPort, output: true, local: w.isNode(c.p.Src),
			})
			if pass != c.pass {
				t.Errorf("%s: the trace at the output hook disagrees: %s", c.p, why)
			}
		}
	}
}
