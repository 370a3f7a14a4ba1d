package oracle

import (
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// TestRefusedPeers has rows for peers that API validation refuses: they match nothing and the rest still applies.
func TestRefusedPeers(t *testing.T) {
	rest := `, {ipBlock: {cidr: 9.9.9.9/32}}]`
	nothing := []string{"a/api > a/web tcp/1: drop", "b/client > a/web tcp/1: drop", "8.8.8.8 > a/web tcp/1: drop", "9.9.9.9 > a/web tcp/1: pass"}
	var rows []row
	for name, peer := range map[string]string{
		"no field":                          `{}`,
		"ipBlock with podSelector":          `{ipBlock: {cidr: 0.0.0.0/0}, podSelector: {}}`,
		"ipBlock with namespaceSelector":    `{ipBlock: {cidr: 0.0.0.0/0}, namespaceSelector: {}}`,
		"empty ipBlock":                     `{ipBlock: {cidr: ""}}`,
		"CIDR without length":               `{ipBlock: {cidr: 8.8.8.8}}`,
		"CIDR with a bad octet":             `{ipBlock: {cidr: 8.8.8.256/0}}`,
		"CIDR with a bad length":            `{ipBlock: {cidr: 8.8.8.8/33}}`,
		"CIDR with a zone":                  `{ipBlock: {cidr: "fe80::1%eth0/0"}}`,
		"short IPv4-mapped CIDR":            `{ipBlock: {cidr: "::ffff:0.0.0.0/95"}}`,
		"except that is no CIDR":            `{ipBlock: {cidr: 0.0.0.0/0, except: [1.2.3.4]}}`,
		"except equal to the CIDR":          `{ipBlock: {cidr: 0.0.0.0/0, except: [0.0.0.0/0]}}`,
		"except larger than the CIDR":       `{ipBlock: {cidr: 8.0.0.0/8, except: [8.0.0.0/7]}}`,
		"unknown operator in podSelector":   `{podSelector: {matchExpressions: [{key: app, operator: Gt, values: ["1"]}]}}`,
		"lower case operator":               `{podSelector: {matchExpressions: [{key: app, operator: exists}]}}`,
		"In without values":                 `{podSelector: {matchExpressions: [{key: app, operator: In}]}}`,
		"NotIn without values":              `{podSelector: {matchExpressions: [{key: app, operator: NotIn, values: []}]}}`,
		"Exists with values":                `{podSelector: {matchExpressions: [{key: app, operator: Exists, values: [web]}]}}`,
		"DoesNotExist with values":          `{podSelector: {matchExpressions: [{key: nope, operator: DoesNotExist, values: [x]}]}}`,
		"bad key":                           `{podSelector: {matchExpressions: [{key: "-bad-", operator: DoesNotExist}]}}`,
		"bad value":                         `{podSelector: {matchExpressions: [{key: app, operator: NotIn, values: ["not a value"]}]}}`,
		"bad value in matchLabels":          `{podSelector: {matchLabels: {app: "not a value"}}}`,
		"good and bad requirement":          `{podSelector: {matchLabels: {app: api}, matchExpressions: [{key: app, operator: Foo}]}}`,
		"bad namespaceSelector":             `{namespaceSelector: {matchExpressions: [{key: team, operator: In}]}}`,
		"bad podSelector, good namespaces":  `{namespaceSelector: {}, podSelector: {matchExpressions: [{key: app, operator: In}]}}`,
		"good podSelector, bad namespaces":  `{podSelector: {}, namespaceSelector: {matchExpressions: [{key: x, operator: Foo}]}}`,
		"bad namespaceSelector, lenient":    `{namespaceSelector: {matchExpressions: [{key: team, operator: NotIn}]}, podSelector: {}}`,
		"except that is no CIDR, elsewhere": `{ipBlock: {cidr: 8.0.0.0/8, except: [9.0.0.0/8, junk]}}`,
	} {
		rows = append(rows, row{name: name, policies: map[string]string{"a/p": from(`[` + peer + rest)}, probes: nothing})
		rows = append(rows, row{name: name + ", alone", policies: map[string]string{"a/p": from(`[` + peer + `]`)}, probes: nothing[:3]})
	}
	run(t, rows)
}

// TestOddExcepts has rows for exceptions that API validation refuses and whose effect is still clear.
func TestOddExcepts(t *testing.T) {
	run(t, []row{
		{name: "except outside the CIDR subtracts nothing", policies: map[string]string{"a/p": from(`[{ipBlock: {cidr: 8.0.0.0/8, except: [9.0.0.0/8]}}]`)}, probes: []string{"8.8.8.8 > a/web tcp/1: pass", "9.9.9.9 > a/web tcp/1: drop"}},
		{name: "except of the other family subtracts nothing", policies: map[string]string{"a/p": from(`[{ipBlock: {cidr: 8.0.0.0/8, except: ["::/0"]}}]`)}, probes: []string{"8.8.8.8 > a/web tcp/1: pass"}},
		{name: "excepts overlap and repeat", policies: map[string]string{"a/p": from(`[{ipBlock: {cidr: 8.0.0.0/8, except: [8.8.0.0/16, 8.8.8.0/24, 8.8.0.0/16]}}]`)}, probes: []string{"8.8.8.8 > a/web tcp/1: drop", "8.8.1.1 > a/web tcp/1: drop", "8.9.8.8 > a/web tcp/1: pass"}},
	})
}

// TestRefusedPorts has rows for ports that API validation refuses: the item matches nothing and the rest still applies.
func TestRefusedPorts(t *testing.T) {
	var rows []row
	for name, item := range map[string]string{
		"endPort below port":             `{port: 80, endPort: 79}`,
		"endPort with a named port":      `{port: http, endPort: 90}`,
		"endPort without port":           `{endPort: 90}`,
		"endPort above 65535":            `{port: 1, endPort: 65536}`,
		"port 0":                         `{port: 0}`,
		"port 0 with endPort":            `{port: 0, endPort: 65535}`,
		"negative port":                  `{port: -1, endPort: 65535}`,
		"port above 65535":               `{port: 65616}`,
		"port and endPort above 65535":   `{port: 65600, endPort: 65700}`,
		"unknown protocol":               `{protocol: ICMP}`,
		"unknown protocol with port":     `{protocol: DCCP, port: 80}`,
		"protocol in lower case":         `{protocol: tcp, port: 80}`,
		"empty protocol":                 `{protocol: "", port: 80}`,
		"empty name":                     `{port: ""}`,
		"number as a name":               `{port: "80"}`,
		"name that no port can have":     `{port: HTTP}`,
		"name with two hyphens in a row": `{port: h--p}`,
		"name that is too long":          `{port: abcdefghijklmnop}`,
		"name that starts with a hyphen": `{port: -http}`,
		"name without a letter":          `{port: "8-0"}`,
	} {
		var names []corev1.ContainerPort
		for _, n := range []string{"http", "", "80", "HTTP", "h--p", "abcdefghijklmnop", "-http", "8-0"} {
			names = append(names, corev1.ContainerPort{Name: n, ContainerPort: 80})
		}
		rows = append(rows, row{name: name, change: set("a/web", func(p *corev1.Pod) { p.Spec.Containers[0].Ports = names }),
			policies: map[string]string{"a/p": ports(`[` + item + `, {port: 443}]`)}, probes: []string{
				"8.8.8.8 > a/web tcp/80: drop", "8.8.8.8 > a/web tcp/0: drop", "8.8.8.8 > a/web tcp/79: drop", "8.8.8.8 > a/web udp/80: drop", "8.8.8.8 > a/web icmp: drop", "8.8.8.8 > a/web tcp/443: pass"}})
	}
	rows = append(rows, row{name: "container port out of range", change: set("a/web", func(p *corev1.Pod) {
		p.Spec.Containers[0].Ports = []corev1.ContainerPort{{Name: "zero", ContainerPort: 0}, {Name: "big", ContainerPort: 65616}, {Name: "big", ContainerPort: 81}}
	}), policies: map[string]string{"a/p": ports(`[{port: zero}, {port: big}]`)}, probes: []string{"8.8.8.8 > a/web tcp/0: drop", "8.8.8.8 > a/web tcp/80: drop", "8.8.8.8 > a/web tcp/81: drop"}})
	rows = append(rows, row{name: "port of no known type", change: func(_ *testing.T, s *State) {
		p := &networkingv1.NetworkPolicy{}
		p.Namespace, p.Name = "a", "odd"
		p.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{Ports: []networkingv1.NetworkPolicyPort{{Port: &intstr.IntOrString{Type: 7, IntVal: 80, StrVal: "http"}}}}}
		s.Policies = append(s.Policies, p)
	}, probes: []string{"8.8.8.8 > a/web tcp/80: drop"}})
	run(t, rows)
}

// TestRefusedPolicies has rows for policies that cannot be understood as a whole.
func TestRefusedPolicies(t *testing.T) {
	bad := `{podSelector: {matchExpressions: [{key: app, operator: In}]}, `
	run(t, []row{
		{name: "a podSelector that cannot be parsed isolates the namespace with the valid rules", policies: map[string]string{
			"a/p": bad + `ingress: [{from: [{ipBlock: {cidr: 8.8.8.8/32}}]}, {from: [{}]}]}`,
		}, probes: []string{"8.8.8.8 > a/web tcp/1: pass", "8.8.8.8 > a/db tcp/1: pass", "9.9.9.9 > a/web tcp/1: drop", "9.9.9.9 > a/db tcp/1: drop", "9.9.9.9 > b/web tcp/1: pass", "a/web > 9.9.9.9 tcp/1: pass"}},
		{name: "bad policy does not block another one", policies: map[string]string{
			"a/p": bad + `policyTypes: [Foo]}`, "a/q": `{policyTypes: [Ingress, Egress], ingress: [{ports: [{port: 80}]}], egress: [{}]}`,
		}, probes: []string{"9.9.9.9 > a/web tcp/80: pass", "9.9.9.9 > a/web tcp/81: drop", "a/web > 9.9.9.9 tcp/81: pass"}},
		{name: "duplicate policyTypes", policies: map[string]string{"a/p": `{policyTypes: [Egress, Egress], egress: [{ports: [{port: 80}]}]}`}, probes: []string{"a/web > 9.9.9.9 tcp/80: pass", "a/web > 9.9.9.9 tcp/81: drop", "9.9.9.9 > a/web tcp/1: pass"}},
		{name: "only unknown policyTypes isolate both directions", policies: map[string]string{"a/p": `{policyTypes: [Foo], ingress: [{ports: [{port: 80}]}]}`}, probes: []string{"9.9.9.9 > a/web tcp/80: pass", "9.9.9.9 > a/web tcp/81: drop", "a/web > 9.9.9.9 tcp/80: drop"}},
		{name: "known and unknown policyTypes isolate both directions", policies: map[string]string{"a/p": `{policyTypes: [Ingress, Foo], egress: [{ports: [{port: 80}]}]}`}, probes: []string{"9.9.9.9 > a/web tcp/80: drop", "a/web > 9.9.9.9 tcp/80: pass", "a/web > 9.9.9.9 tcp/81: drop"}},
		{name: "policyTypes in lower case are unknown", policies: map[string]string{"a/p": `{policyTypes: [egress]}`}, probes: []string{"9.9.9.9 > a/web tcp/80: drop", "a/web > 9.9.9.9 tcp/80: drop"}},
		{name: "empty policyType is unknown", policies: map[string]string{"a/p": `{policyTypes: [""]}`}, probes: []string{"9.9.9.9 > a/web tcp/80: drop", "a/web > 9.9.9.9 tcp/80: drop"}},
	})
}

// TestLegacyCIDRs has rows for CIDRs that only older API servers accept.
func TestLegacyCIDRs(t *testing.T) {
	run(t, []row{
		{name: "leading zeros are decimal", policies: map[string]string{"a/p": from(`[{ipBlock: {cidr: 010.1.2.3/8}}]`)}, probes: []string{"10.9.9.9 > a/web tcp/1: pass", "8.9.9.9 > a/web tcp/1: drop"}},
		{name: "host bits are ignored", policies: map[string]string{"a/p": from(`[{ipBlock: {cidr: 8.1.2.3/8, except: [8.8.8.8/24]}}]`)}, probes: []string{"8.9.9.9 > a/web tcp/1: pass", "8.8.8.9 > a/web tcp/1: drop"}},
		{name: "IPv4-mapped is IPv4", policies: map[string]string{"a/p": from(`[{ipBlock: {cidr: "::ffff:8.0.0.0/104", except: ["::ffff:8.8.0.0/112"]}}]`)}, probes: []string{"8.9.9.9 > a/web tcp/1: pass", "9.9.9.9 > a/web tcp/1: drop", "8.8.9.9 > a/web tcp/1: drop"}},
	})
}

// TestParseCIDR compares texts with the block they mean; "" marks a text that is not understood.
func TestParseCIDR(t *testing.T) {
	for text, want := range map[string]string{
		"10.0.0.0/8": "10.0.0.0/8", "10.1.2.3/8": "10.0.0.0/8", "010.1.2.3/8": "10.0.0.0/8", "10.0.0.0/08": "10.0.0.0/8", "0.0.0.0/0": "0.0.0.0/0",
		"010.010.010.010/32": "10.10.10.10/32", "0000010.0.0.0/8": "10.0.0.0/8", "1.2.3.4/32": "1.2.3.4/32",
		"::/0": "::/0", "2001:db8::/32": "2001:db8::/32", "2001:DB8::1/32": "2001:db8::/32", "1:2:3:4:5:6:7:8/128": "1:2:3:4:5:6:7:8/128", "::1/128": "::1/128",
		"1::/16": "1::/16", "1:2:3:4:5:6:7::/112": "1:2:3:4:5:6:7:0/112", "64:ff9b::10.0.0.0/104": "64:ff9b::a00:0/104", "64:ff9b::010.0.0.0/104": "64:ff9b::a00:0/104",
		"1:2:3:4:5:6:1.2.3.4/128": "1:2:3:4:5:6:102:304/128", "00001::/16": "1::/16",
		"::ffff:10.0.0.0/104": "10.0.0.0/8", "::ffff:10.1.2.3/96": "0.0.0.0/0", "::ffff:a00:1/128": "10.0.0.1/32", "::ffff:0:0/96": "0.0.0.0/0", "::ffff:0.0.0.0/95": "",
		"": "", "/": "", "/8": "", "10.0.0.0": "", "10.0.0.0/": "", "10.0.0.0/33": "", "10.0.0.0/-1": "", "10.0.0.0/+8": "", "10.0.0.0/8/8": "", "10.0.0/8": "", "10.0.0.0.0/8": "",
		"10.0.0.256/8": "", " 10.0.0.0/8": "", "10.0.0.0/8 ": "", "10.0.0.a/8": "", "10..0.0/8": "", "10.0.0.0/99999999999999999999": "", "99999999999999999999.0.0.0/8": "",
		"::/129": "", ":::/8": "", "1::2::3/8": "", ":1::/8": "", "1:/8": "", "1:2:3:4:5:6:7/8": "", "1:2:3:4:5:6:7:8:9/8": "", "1:2:3:4:5:6:7:8::/8": "", "fe80::1%eth0/64": "",
		"12345::/16": "", "g::/16": "", "::1.2.3/96": "", "::1.2.3.4:1/96": "", "1.2.3.4::/96": "", "0x10.0.0.0/8": "", "example/8": "",
	} {
		got, ok := parseCIDR(text)
		switch {
		case want == "" && ok:
			t.Errorf("%q is read as %s, want not understood", text, got)
		case want != "" && (!ok || got != netip.MustParsePrefix(want)):
			t.Errorf("%q is read as %s %t, want %s", text, got, ok, want)
		}
	}
}
