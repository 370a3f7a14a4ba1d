package kernel

import "testing"

// TestKernelPolicyTypes shows which directions a policy isolates.
func TestKernelPolicyTypes(t *testing.T) {
	const in, out = "ingress: [{from: [{podSelector: {matchLabels: {app: client}}}]}]", "egress: [{to: [{podSelector: {matchLabels: {app: client}}}]}]"
	web := "podSelector: {matchLabels: {app: web}}\n"
	fromAPI, toAPI := deny("shop/api", "shop/web", "tcp/80"), deny("shop/web", "shop/api", "tcp/80")
	openIn, openOut := allow("shop/api", "shop/web", "tcp/80"), allow("shop/web", "shop/api", "tcp/80")
	fromClient, toClient := allow("shop/client", "shop/web", "tcp/80"), allow("shop/web", "shop/client", "tcp/80")
	runRows(t, []row{
		{name: "missing and no egress rule: Ingress", objects: policy("shop/p", web+in), probes: []probe{fromClient, fromAPI, toClient, openOut}},
		{name: "missing and no rule at all: Ingress", objects: policy("shop/p", web), probes: []probe{deny("shop/client", "shop/web", "tcp/80"), fromAPI, toClient, openOut}},
		{name: "missing and an egress rule: both", objects: policy("shop/p", web+out), probes: []probe{deny("shop/client", "shop/web", "tcp/80"), fromAPI, toClient, toAPI}},
		{name: "empty and an egress rule: both", objects: policy("shop/p", web+"policyTypes: []\n"+in+"\n"+out), probes: []probe{fromClient, fromAPI, toClient, toAPI}},
		{name: "empty egress list: Ingress", objects: policy("shop/p", web+in+"\negress: []"), probes: []probe{fromClient, fromAPI, openOut}},
		{name: "Ingress alone, whatever egress rules stand there", objects: policy("shop/p", web+"policyTypes: [Ingress]\n"+in+"\n"+out), probes: []probe{fromClient, fromAPI, toClient, openOut}},
		{name: "Egress alone, whatever ingress rules stand there", objects: policy("shop/p", web+"policyTypes: [Egress]\n"+in+"\n"+out), probes: []probe{fromClient, openIn, toClient, toAPI}},
		{name: "both", objects: policy("shop/p", web+"policyTypes: [Ingress, Egress]\n"+in+"\n"+out), probes: []probe{fromClient, fromAPI, toClient, toAPI}},
		{
			name:    "no rules and a type listed: deny all",
			objects: policy("shop/p", web+"policyTypes: [Ingress, Egress]\ningress: []"),
			probes:  []probe{deny("shop/client", "shop/web", "tcp/80"), deny("internet", "shop/web", "udp/80"), deny("shop/web", "shop/client", "tcp/80"), deny("shop/web", "internet", "icmp")},
		},
	})
}

// TestKernelSelectors shows which pods a policy selects and which a peer means.
func TestKernelSelectors(t *testing.T) {
	runRows(t, []row{
		{
			name:    "empty podSelector is every pod of the namespace",
			objects: policy("shop/p", "podSelector: {}"),
			probes:  []probe{deny("shop/client", "shop/web", "tcp/80"), deny("shop/web", "shop/client", "tcp/80"), deny("blog/web", "shop/api", "tcp/80"), allow("shop/web", "blog/web", "tcp/80")},
		},
		{
			name:    "rule without from or to is every source and destination",
			objects: policy("shop/in", "podSelector: {matchLabels: {app: web}}\ningress: [{}]") + policy("shop/out", "podSelector: {matchLabels: {app: client}}\npolicyTypes: [Egress]\negress: [{to: []}]") + policy("blog/in", "podSelector: {}\ningress: [{from: [], ports: [{port: 80}]}]"),
			probes: []probe{
				allow("internet", "shop/web", "tcp/80"), allow("blog/far", "shop/web", "udp/80"), allow("other-node", "shop/web", "icmp"), allow("plain/bare", "shop/web", "sctp/80"),
				allow("shop/client", "internet", "tcp/80"), allow("shop/client", "plain/bare", "udp/80"),
				allow("internet", "blog/web", "tcp/80"), deny("internet", "blog/web", "tcp/81"),
			},
		},
		{
			name:    "podSelector alone: the policy's own namespace",
			objects: policy("shop/p", "podSelector: {matchLabels: {app: web}}\ningress: [{from: [{podSelector: {matchLabels: {app: client}}}]}]"),
			probes:  []probe{allow("shop/client", "shop/web", "tcp/80"), allow("shop/far", "shop/web", "tcp/80"), deny("blog/client", "shop/web", "tcp/80"), deny("shop/api", "shop/web", "tcp/80")},
		},
		{
			name:    "empty podSelector as a peer: all pods of the namespace and nobody else",
			objects: policy("shop/p", "podSelector: {matchLabels: {app: web}}\ningress: [{from: [{podSelector: {}}]}]"),
			probes:  []probe{allow("shop/api", "shop/web", "tcp/80"), allow("shop/far", "shop/web", "icmp"), deny("blog/web", "shop/web", "tcp/80"), deny("internet", "shop/web", "tcp/80")},
		},
		{
			name:    "namespaceSelector alone: all pods of the matching namespaces",
			objects: policy("shop/p", "podSelector: {matchLabels: {app: web}}\ningress: [{from: [{namespaceSelector: {matchLabels: {team: blog}}}]}]"),
			probes:  []probe{allow("blog/web", "shop/web", "tcp/80"), allow("blog/far", "shop/web", "tcp/80"), deny("shop/client", "shop/web", "tcp/80"), deny("plain/bare", "shop/web", "tcp/80")},
		},
		{
			name:    "empty namespaceSelector: all namespaces and no external address",
			objects: policy("shop/p", "podSelector: {matchLabels: {app: web}}\npolicyTypes: [Ingress, Egress]\ningress: [{from: [{namespaceSelector: {}}]}]\negress: [{to: [{namespaceSelector: {}}]}]"),
			probes: []probe{
				allow("blog/far", "shop/web", "tcp/80"), allow("plain/bare", "shop/web", "tcp/80"), allow("shop/web", "blog/far", "tcp/80"),
				deny("internet", "shop/web", "tcp/80"), deny("other-node", "shop/web", "tcp/80"), deny("shop/web", "internet", "tcp/80"), deny("10.244.2.99", "shop/web", "tcp/80"),
			},
		},
		{
			name:    "both in one peer: AND",
			objects: policy("shop/p", "podSelector: {matchLabels: {app: web}}\ningress: [{from: [{namespaceSelector: {matchLabels: {team: blog}}, podSelector: {matchLabels: {app: client}}}]}]"),
			probes:  []probe{allow("blog/client", "shop/web", "tcp/80"), allow("blog/far", "shop/web", "tcp/80"), deny("blog/web", "shop/web", "tcp/80"), deny("shop/client", "shop/web", "tcp/80")},
		},
		{
			name:    "two items of the list: OR",
			objects: policy("shop/p", "podSelector: {matchLabels: {app: web}}\ningress: [{from: [{namespaceSelector: {matchLabels: {team: blog}}}, {podSelector: {matchLabels: {app: client}}}]}]"),
			probes:  []probe{allow("blog/web", "shop/web", "tcp/80"), allow("shop/client", "shop/web", "tcp/80"), deny("shop/api", "shop/web", "tcp/80"), deny("plain/bare", "shop/web", "tcp/80")},
		},
		{
			name: "NotIn and DoesNotExist also match objects without the key",
			objects: policy("shop/not-in", "podSelector: {matchLabels: {app: web}}\ningress: [{from: [{podSelector: {matchExpressions: [{key: tier, operator: NotIn, values: [back]}]}}]}]") +
				policy("blog/no-key", "podSelector: {matchLabels: {app: web}}\ningress: [{from: [{namespaceSelector: {matchExpressions: [{key: env, operator: DoesNotExist}]}}]}]") +
				policy("plain/not-in", "podSelector: {matchExpressions: [{key: app, operator: NotIn, values: [web]}]}\ningress: [{from: [{namespaceSelector: {matchExpressions: [{key: team, operator: NotIn, values: [shop]}]}}]}]"),
			probes: []probe{
				allow("shop/client", "shop/web", "tcp/80"), deny("shop/api", "shop/web", "tcp/80"),
				allow("shop/client", "blog/web", "tcp/80"), allow("plain/bare", "blog/web", "tcp/80"), deny("blog/client", "blog/web", "tcp/80"),
				allow("blog/client", "plain/bare", "tcp/80"), deny("shop/client", "plain/bare", "tcp/80"),
			},
		},
		{
			name: "In, Exists and several requirements",
			objects: policy("shop/p", "podSelector: {matchExpressions: [{key: app, operator: In, values: [web, other]}]}\n"+
				"ingress: [{from: [{podSelector: {matchLabels: {app: api}, matchExpressions: [{key: tier, operator: Exists}]}}]}]"),
			probes: []probe{allow("shop/api", "shop/web", "tcp/80"), deny("shop/client", "shop/web", "tcp/80"), allow("shop/client", "shop/api", "tcp/80")},
		},
	})
}

// TestKernelBlocks shows what ipBlocks match.
func TestKernelBlocks(t *testing.T) {
	web := "podSelector: {matchLabels: {app: web}}\n"
	runRows(t, []row{
		{
			name: "except carves a hole in this peer alone",
			objects: policy("shop/p", web+"ingress: [{from: [{ipBlock: {cidr: 172.17.0.0/16, except: [172.17.1.0/24]}}, {ipBlock: {cidr: 2001:db8:17::/48, except: [2001:db8:17:1::/64]}}], ports: [{port: 80}]}]") +
				policy("shop/other", web+"ingress: [{from: [{ipBlock: {cidr: 172.17.1.5/32}}, {ipBlock: {cidr: 2001:db8:17:1::5/128}}], ports: [{port: 81}]}]"),
			probes: []probe{
				allow("net-2", "shop/web", "tcp/80"), deny("net-1", "shop/web", "tcp/80"), // in the hole
				allow("net-1", "shop/web", "tcp/81"), deny("net-2", "shop/web", "tcp/81"), // another policy allows it
				deny("internet", "shop/web", "tcp/80"), deny("shop/client", "shop/web", "tcp/80"),
			},
		},
		{
			name: "another peer of the rule allows what is in the hole",
			objects: policy("shop/p", web+"ingress: [{from: [{ipBlock: {cidr: 172.17.0.0/16, except: [172.17.1.0/24, 172.17.2.0/24]}}, {ipBlock: {cidr: 172.17.1.0/30}}]}]") +
				policy("blog/p", web+"ingress: [{from: [{ipBlock: {cidr: 172.17.0.0/16, except: [172.17.1.0/24, 172.17.2.0/24]}}, {ipBlock: {cidr: 172.17.1.4/30}}]}]"),
			probes: []probe{
				deny("net-1", "shop/web", "tcp4/80"), allow("net-1", "blog/web", "tcp4/80"), deny("net-2", "blog/web", "tcp4/80"),
				allow("172.17.3.1", "shop/web", "tcp/80"), allow("172.17.1.3", "shop/web", "tcp/80"), deny("172.17.1.3", "blog/web", "tcp/80"),
				allow("172.17.0.255", "shop/web", "udp/80"), deny("172.17.2.0", "shop/web", "udp/80"),
			},
		},
		{
			name: "blocks that overlap, each with its own except",
			objects: policy("shop/p", web+"ingress: [{from: [{ipBlock: {cidr: 172.17.0.0/16, except: [172.17.1.0/24]}}, {ipBlock: {cidr: 172.16.0.0/12, except: [172.17.0.0/16]}}, {ipBlock: {cidr: 172.17.1.5/32}}, {ipBlock: {cidr: 172.17.0.0/16, except: [172.17.2.0/24]}}]}]") +
				policy("blog/p", web+"ingress: [{from: [{ipBlock: {cidr: 192.0.2.0/24}}], ports: [{port: 80}]}, {from: [{ipBlock: {cidr: 192.0.2.8/29, except: [192.0.2.10/32]}}], ports: [{port: 81}]}]"),
			probes: []probe{
				allow("net-1", "shop/web", "tcp4/80"), allow("net-2", "shop/web", "tcp4/80"), allow("172.18.0.1", "shop/web", "tcp/80"), deny("internet", "shop/web", "tcp/80"),
				allow("internet", "blog/web", "tcp4/80"), deny("internet", "blog/web", "tcp4/81"), allow("192.0.2.11", "blog/web", "tcp/81"),
			},
		},
		{
			name:    "/0 of one family leaves the other one isolated",
			objects: policy("shop/p", web+"policyTypes: [Ingress, Egress]\ningress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}]}]\negress: [{to: [{ipBlock: {cidr: \"::/0\"}}]}]"),
			probes: []probe{
				allow("internet", "shop/web", "tcp4/80"), allow("shop/client", "shop/web", "tcp4/80"), deny("internet", "shop/web", "tcp6/80"), deny("shop/client", "shop/web", "icmp6"),
				allow("shop/web", "internet", "tcp6/80"), allow("shop/web", "shop/client", "tcp6/80"), deny("shop/web", "internet", "tcp4/80"), deny("shop/web", "shop/client", "icmp4"),
			},
		},
		{
			name:    "/0 with except, and both halves of the world",
			objects: policy("shop/p", web+"ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0, except: [172.17.0.0/16, 10.244.2.0/24]}}, {ipBlock: {cidr: \"::/1\"}}, {ipBlock: {cidr: \"8000::/1\", except: [\"fd00:10:244:1::12/128\"]}}]}]"),
			probes: []probe{
				allow("internet", "shop/web", "tcp/80"), deny("net-1", "shop/web", "tcp4/80"), allow("net-1", "shop/web", "tcp6/80"), deny("shop/far", "shop/web", "tcp4/80"),
				allow("shop/client", "shop/web", "tcp4/80"), deny("shop/client", "shop/web", "tcp6/80"), allow("shop/api", "shop/web", "tcp6/80"),
			},
		},
		{
			name:    "a block matches pods too, by the address that the packet has",
			objects: policy("shop/p", web+"policyTypes: [Ingress, Egress]\ningress: [{from: [{ipBlock: {cidr: 10.244.1.12/32}}, {ipBlock: {cidr: 10.244.2.0/24}}]}]\negress: [{to: [{ipBlock: {cidr: 10.244.1.14/31}}, {ipBlock: {cidr: \"fd00:10:244:1::14/127\"}}]}]"),
			probes: []probe{
				allow("shop/client", "shop/web", "tcp4/80"), allow("blog/far", "shop/web", "tcp4/80"), deny("shop/client", "shop/web", "tcp6/80"), deny("shop/api", "shop/web", "tcp4/80"),
				allow("shop/web", "blog/client", "tcp/80"), allow("shop/web", "plain/bare", "tcp/80"), deny("shop/web", "blog/web", "tcp/80"), deny("shop/web", "internet", "tcp/80"),
			},
		},
	})
}

// TestKernelPorts shows what ports match.
func TestKernelPorts(t *testing.T) {
	web := "podSelector: {matchLabels: {app: web}}\n"
	runRows(t, []row{
		{
			name:    "missing or empty: all ports of all protocols",
			objects: policy("shop/p", web+"ingress: [{from: [{podSelector: {}}], ports: []}]"),
			probes: []probe{
				allow("shop/client", "shop/web", "tcp/1"), allow("shop/client", "shop/web", "udp/65535"), allow("shop/client", "shop/web", "sctp/80"), allow("shop/client", "shop/web", "icmp"),
				deny("blog/client", "shop/web", "tcp/1"),
			},
		},
		{
			name:    "an entry without port: all ports of its protocol, TCP if missing",
			objects: policy("shop/p", web+"ingress: [{ports: [{}]}]") + policy("blog/p", web+"ingress: [{ports: [{protocol: UDP}]}]"),
			probes: []probe{
				allow("shop/client", "shop/web", "tcp/1"), allow("shop/client", "shop/web", "tcp/65535"), deny("shop/client", "shop/web", "udp/80"), deny("shop/client", "shop/web", "sctp/80"), deny("shop/client", "shop/web", "icmp"),
				allow("shop/client", "blog/web", "udp/1"), deny("shop/client", "blog/web", "tcp/1"),
			},
		},
		{
			name:    "protocol missing: TCP",
			objects: policy("shop/p", web+"ingress: [{ports: [{port: 53}]}]"),
			probes:  []probe{allow("shop/client", "shop/web", "tcp/53"), deny("shop/client", "shop/web", "udp/53"), deny("shop/client", "shop/web", "tcp/54")},
		},
		{
			name: "a named port is looked up on the destination pod, with the same protocol",
			objects: policy("shop/p", "podSelector: {}\ningress: [{ports: [{port: http}, {port: dns, protocol: UDP}, {port: signal, protocol: SCTP}]}]") +
				policy("blog/p", "podSelector: {matchLabels: {app: client}}\npolicyTypes: [Egress]\negress: [{ports: [{port: http}]}]"),
			probes: []probe{
				allow("plain/bare", "shop/web", "tcp/8080"), deny("plain/bare", "shop/web", "tcp/9090"), allow("plain/bare", "shop/api", "tcp/9090"), deny("plain/bare", "shop/api", "tcp/8080"),
				allow("plain/bare", "shop/web", "udp/5353"), deny("plain/bare", "shop/web", "tcp/5353"), deny("plain/bare", "shop/api", "udp/5353"), deny("plain/bare", "shop/api", "tcp/5353"),
				allow("plain/bare", "shop/web", "sctp/9999"), deny("plain/bare", "shop/api", "sctp/9999"), deny("plain/bare", "shop/client", "tcp/8080"),
				allow("blog/client", "shop/api", "tcp/9090"), deny("blog/client", "shop/api", "tcp/8080"), allow("blog/client", "shop/far", "tcp/7070"),
				deny("blog/client", "internet", "tcp/8080"), deny("blog/client", "plain/bare", "tcp/8080"), allow("blog/client", "blog/web", "tcp/8080"),
			},
		},
		{
			name:    "a name that no pod has, or has under another protocol, matches nothing",
			objects: policy("shop/p", web+"ingress: [{ports: [{port: nobody}, {port: http, protocol: UDP}, {port: dns, protocol: SCTP}]}]"),
			probes: []probe{
				deny("shop/client", "shop/web", "tcp/8080"), deny("shop/client", "shop/web", "udp/8080"), deny("shop/client", "shop/web", "udp/5353"), deny("shop/client", "shop/web", "sctp/5353"), deny("shop/client", "shop/web", "icmp"),
			},
		},
		{
			name:    "endPort is inclusive",
			objects: policy("shop/p", web+"ingress: [{ports: [{port: 8000, endPort: 8002}, {protocol: UDP, port: 65534, endPort: 65535}, {protocol: SCTP, port: 1, endPort: 1}]}]"),
			probes: []probe{
				deny("shop/client", "shop/web", "tcp/7999"), allow("shop/client", "shop/web", "tcp/8000"), allow("shop/client", "shop/web", "tcp/8001"), allow("shop/client", "shop/web", "tcp/8002"), deny("shop/client", "shop/web", "tcp/8003"),
				deny("shop/client", "shop/web", "udp/8001"), deny("shop/client", "shop/web", "udp/65533"), allow("shop/client", "shop/web", "udp/65534"), allow("shop/client", "shop/web", "udp/65535"),
				allow("shop/client", "shop/web", "sctp/1"), deny("shop/client", "shop/web", "sctp/2"),
			},
		},
		{
			name:    "ports that touch and overlap",
			objects: policy("shop/p", web+"ingress: [{ports: [{port: 80}, {port: 81, endPort: 90}, {port: 85, endPort: 95}, {port: 95}, {port: 97}]}]"),
			probes: []probe{
				deny("shop/client", "shop/web", "tcp/79"), allow("shop/client", "shop/web", "tcp/80"), allow("shop/client", "shop/web", "tcp/90"), allow("shop/client", "shop/web", "tcp/95"), deny("shop/client", "shop/web", "tcp/96"), allow("shop/client", "shop/web", "tcp/97"),
			},
		},
		{
			name:    "SCTP lets no TCP through and isolates all the same",
			objects: policy("shop/p", web+"ingress: [{ports: [{protocol: SCTP, port: 80}]}]"),
			probes:  []probe{allow("shop/client", "shop/web", "sctp/80"), allow("internet", "shop/web", "sctp/80"), deny("shop/client", "shop/web", "sctp/81"), deny("shop/client", "shop/web", "tcp/80"), deny("shop/client", "shop/web", "udp/80")},
		},
		{
			name:    "many ports and many peers of one rule",
			objects: policy("shop/p", web+"ingress: [{ports: [{port: 80}, {port: 82}, {port: 84, protocol: UDP}, {port: http}], from: [{podSelector: {matchLabels: {app: client}}}, {namespaceSelector: {matchLabels: {team: blog}}, podSelector: {matchLabels: {app: web}}}, {ipBlock: {cidr: 172.17.1.0/24}}, {ipBlock: {cidr: 172.17.3.0/24}}, {ipBlock: {cidr: 192.0.2.0/28, except: [192.0.2.8/30]}}]}]"),
			probes: []probe{
				allow("shop/client", "shop/web", "tcp/82"), allow("blog/web", "shop/web", "udp/84"), allow("net-1", "shop/web", "tcp4/8080"), allow("shop/far", "shop/web", "tcp/8080"), allow("192.0.2.7", "shop/web", "tcp/80"),
				deny("internet", "shop/web", "tcp4/80"), deny("net-2", "shop/web", "tcp4/80"), deny("blog/client", "shop/web", "tcp/82"), deny("shop/client", "shop/web", "tcp/84"), deny("net-1", "shop/web", "icmp4"),
			},
		},
	})
}

// TestKernelRefusedObjects shows that objects which API validation refuses, but which exist all the same, open nothing
// and block nothing else.
func TestKernelRefusedObjects(t *testing.T) {
	web := "podSelector: {matchLabels: {app: web}}\n"
	none := []probe{deny("shop/client", "shop/web", "tcp/80"), deny("internet", "shop/web", "udp/53"), deny("shop/far", "shop/web", "icmp"), allow("shop/client", "shop/api", "tcp/80")}
	rows := []row{
		{
			name:    "a policy whose podSelector cannot be parsed isolates its namespace with its valid rules",
			objects: policy("shop/p", "podSelector: {matchExpressions: [{key: app, operator: Like, values: [web]}]}\ningress: [{from: [{podSelector: {matchLabels: {app: client}}}]}]"),
			probes:  []probe{allow("shop/client", "shop/web", "tcp/80"), deny("shop/api", "shop/web", "tcp/80"), deny("shop/web", "shop/api", "tcp/80"), allow("shop/client", "blog/web", "tcp/80")},
		},
		{
			name:    "good parts beside bad ones hold, and other policies too",
			objects: policy("shop/p", web+"ingress: [{from: [{ipBlock: {cidr: nonsense}}, {podSelector: {matchLabels: {app: client}}}], ports: [{port: 80}, {port: 90, endPort: 80}]}]") + policy("shop/q", web+"ingress: [{from: [{podSelector: {matchLabels: {app: api}}}]}]"),
			probes:  []probe{allow("shop/client", "shop/web", "tcp/80"), deny("shop/client", "shop/web", "tcp/85"), deny("internet", "shop/web", "tcp/80"), allow("shop/api", "shop/web", "udp/1")},
		},
		{
			name:    "legacy CIDRs are read as they always were",
			objects: policy("shop/p", web+"ingress: [{from: [{ipBlock: {cidr: 172.017.1.77/24}}, {ipBlock: {cidr: \"::ffff:192.0.2.0/120\"}}]}]"),
			probes:  []probe{allow("net-1", "shop/web", "tcp4/80"), allow("internet", "shop/web", "tcp4/80"), deny("net-2", "shop/web", "tcp4/80"), deny("internet", "shop/web", "tcp6/80")},
		},
		{
			name:    "duplicate policyTypes",
			objects: policy("shop/p", web+"policyTypes: [Egress, Egress]\negress: [{to: [{podSelector: {}}]}]"),
			probes:  []probe{allow("shop/web", "shop/client", "tcp/80"), deny("shop/web", "blog/web", "tcp/80"), allow("blog/web", "shop/web", "tcp/80")},
		},
	}
	for name, rule := range map[string]string{
		"bad CIDR":                    "{from: [{ipBlock: {cidr: 10.0.0.0/33}}]}",
		"bad except":                  "{from: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/99]}}]}",
		"bad peer selector":           "{from: [{podSelector: {matchExpressions: [{key: app, operator: In}]}}]}",
		"peer with no field we know":  "{from: [{}]}",
		"endPort below port":          "{ports: [{port: 90, endPort: 80}]}",
		"endPort with a named port":   "{ports: [{port: http, endPort: 65535}]}",
		"endPort without port":        "{ports: [{endPort: 65535}]}",
		"a port that is no port":      "{ports: [{port: 65616}]}",
		"a protocol that is no known": "{ports: [{protocol: ICMP}]}",
	} {
		rows = append(rows, row{name: name + " matches nothing and isolates", objects: policy("shop/p", web+"ingress: ["+rule+"]"), probes: none})
	}
	runRows(t, rows)
}
