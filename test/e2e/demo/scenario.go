package demo

import "github.com/netpol-agent/netpol-agent/test/e2e/probe"

// port is a port on which every pod of the demo answers.
type port struct {
	protocol string
	number   int
}

func tcp(n int) port { return port{probe.TCP, n} }
func udp(n int) port { return port{probe.UDP, n} }

// answered lists all of these ports.
var answered = []port{tcp(80), tcp(5432), tcp(5978), tcp(6379), tcp(8080), tcp(8443), udp(53), udp(80)}

// scenario applies example policies and says what to look at.
type scenario struct {
	title string
	// apply and remove are names of files in the folder of examples.
	apply, remove []string
	// refused, if set, means that the API server must refuse the file with these words.
	refused string
	// ports are probed between all pairs.
	ports []port
	// claims are hand-written expectations about single connections. The oracle judges all connections.
	claims []claim
}

// claim says whether one connection passes; ends are "namespace/pod", or a node's name as the source.
type claim struct {
	from, to string
	port     port
	passes   bool
}

// scenarios are the examples in turn.
func scenarios() []scenario {
	return []scenario{
		{
			title: "no policy: everything reaches everything",
			ports: answered,
			claims: []claim{
				{"develop/test1", "production/backend", tcp(80), true},
				{"node2", "production/backend", tcp(80), true},
			},
		},
		{
			title: "01: production is isolated inbound",
			apply: []string{"01-default-deny-ingress.yaml"},
			ports: []port{tcp(80), tcp(8080), udp(53)},
			claims: []claim{
				{"production/frontend", "production/backend", tcp(80), false},
				{"node1", "production/backend", tcp(80), true},
				{"node2", "production/backend", tcp(80), false},
				{"production/backend", "default/db", tcp(80), true},
			},
		},
		{
			title: "01 and 02: two ports of the backend open to frontends and to namespaces env=production",
			apply: []string{"02-allow-frontend-to-backend.yaml"},
			ports: []port{tcp(80), tcp(8080), tcp(8443), udp(80)},
			claims: []claim{
				{"production/frontend", "production/backend", tcp(8080), true},
				{"production/restricted", "production/backend", tcp(8443), true},
				{"production/frontend", "production/backend", tcp(80), false},
				{"default/frontend", "production/backend", tcp(8080), false},
				{"production/backend", "production/frontend", tcp(8080), false},
			},
		},
		{
			title:  "03: egress to a CIDR on one port, and DNS over UDP",
			remove: []string{"01-default-deny-ingress.yaml", "02-allow-frontend-to-backend.yaml"},
			apply:  []string{"03-restrict-egress.yaml"},
			ports:  []port{tcp(5432), tcp(80), udp(53)},
			claims: []claim{
				{"production/restricted", "default/db", tcp(5432), true},
				{"production/restricted", "default/db", tcp(80), false},
				{"production/restricted", "kube-system/dns", udp(53), true},
				{"production/restricted", "default/db", udp(53), false},
				{"default/db", "production/restricted", tcp(80), true},
			},
		},
		{
			title:  "04: a CIDR with a hole, or pods of the same app",
			remove: []string{"03-restrict-egress.yaml"},
			apply:  []string{"04-allow-myapp-ingress.yaml"},
			ports:  []port{tcp(80), tcp(8080), udp(80)},
			claims: []claim{
				{"default/myapp-2", "default/myapp-1", tcp(80), true},
				{"logs/fluentd", "default/myapp-1", tcp(80), true},
				{"logs/fluentd", "default/myapp-1", tcp(8080), false},
			},
		},
		{
			title:  "05: the example of the Kubernetes documentation",
			remove: []string{"04-allow-myapp-ingress.yaml"},
			apply:  []string{"05-test-network-policy.yaml"},
			ports:  []port{tcp(6379), tcp(5978), tcp(80)},
			claims: []claim{
				{"default/frontend", "default/db", tcp(6379), true},
				{"develop/test1", "default/db", tcp(6379), true},
				{"alice/client", "default/db", tcp(6379), false},
				{"default/db", "default/frontend", tcp(5978), false},
			},
		},
		{
			title:  "06: role=client pods of namespaces user=alice, both at once",
			remove: []string{"05-test-network-policy.yaml"},
			apply:  []string{"06-namespace-and-pod.yaml"},
			ports:  []port{tcp(80), udp(53)},
			claims: []claim{
				{"alice/client", "default/db", tcp(80), true},
				{"default/frontend", "default/db", tcp(80), false},
			},
		},
		{
			title:  "07: nothing in or out of develop",
			remove: []string{"06-namespace-and-pod.yaml"},
			apply:  []string{"07-deny-all.yaml"},
			ports:  []port{tcp(80), udp(53)},
			claims: []claim{
				{"develop/test1", "develop/test2", tcp(80), false},
				{"develop/test1", "kube-system/dns", udp(53), false},
				{"node1", "develop/test1", tcp(80), true},
			},
		},
		{
			title: "08 replaces 07: everything in and out of develop",
			apply: []string{"08-allow-all.yaml"},
			ports: []port{tcp(80), udp(53)},
			claims: []claim{
				{"develop/test1", "develop/test2", tcp(80), true},
				{"alice/client", "develop/test1", udp(53), true},
			},
		},
		{
			title: "09 replaces 08: out to develop alone, in on one port",
			apply: []string{"09-same-namespace.yaml"},
			ports: []port{tcp(80), tcp(8080), udp(53)},
			claims: []claim{
				{"develop/test1", "develop/test2", tcp(80), true},
				{"develop/test1", "kube-system/dns", udp(53), false},
				{"alice/client", "develop/test1", tcp(8080), false},
			},
		},
		{
			title: "09 and 10: and DNS to anywhere for one pod",
			apply: []string{"10-egress-dns-and-web.yaml"},
			ports: []port{tcp(80), udp(53)},
			claims: []claim{
				{"develop/test1", "kube-system/dns", udp(53), true},
				{"develop/test2", "kube-system/dns", udp(53), false},
			},
		},
		{
			title:  "11: every namespace but default",
			remove: []string{"09-same-namespace.yaml", "10-egress-dns-and-web.yaml"},
			apply:  []string{"11-namespace-expressions.yaml"},
			ports:  []port{tcp(80), udp(53)},
			claims: []claim{
				{"alice/client", "develop/test1", tcp(80), true},
				{"default/frontend", "develop/test1", tcp(80), false},
			},
		},
		{
			title:   "12: three mistakes; the API server refuses the file, and nothing becomes more open",
			apply:   []string{"12-malformed.yaml"},
			refused: "error",
			ports:   []port{tcp(80)},
			claims:  []claim{{"default/frontend", "develop/test1", tcp(80), false}},
		},
		{
			title:   "13: ClusterNetworkPolicy is not served here; nothing changes",
			apply:   []string{"13-cluster-wide-default.yaml"},
			refused: "no matches for kind",
			ports:   []port{tcp(80)},
			claims:  []claim{{"alice/client", "develop/test1", tcp(80), true}},
		},
	}
}
