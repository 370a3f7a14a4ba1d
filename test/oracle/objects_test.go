package oracle

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// onlyWeb starts the spec of a policy that isolates a/web.
const onlyWeb = `{podSelector: {matchLabels: {app: web}}, `

// from returns a spec that lets one list of peers into a/web.
func from(peers string) string { return onlyWeb + `ingress: [{from: ` + peers + `}]}` }

// ports returns a spec that lets one list of ports into a/web.
func ports(items string) string { return onlyWeb + `ingress: [{ports: ` + items + `}]}` }

// TestObjects has a row for each row of "objects", ports aside.
func TestObjects(t *testing.T) {
	in, out := "b/client > a/web tcp/80: ", "a/web > b/client tcp/80: "
	run(t, []row{
		{name: "policyTypes missing isolates ingress", policies: map[string]string{"a/p": `{podSelector: {}}`}, probes: []string{in + "drop", out + "pass"}},
		{name: "policyTypes empty isolates ingress", policies: map[string]string{"a/p": `{policyTypes: []}`}, probes: []string{in + "drop", out + "pass"}},
		{name: "policyTypes missing with an egress rule isolates both", policies: map[string]string{"a/p": `{egress: [{ports: [{port: 81}]}]}`}, probes: []string{in + "drop", out + "drop"}},
		{name: "policyTypes missing with an empty egress list isolates ingress", policies: map[string]string{"a/p": `{egress: []}`}, probes: []string{in + "drop", out + "pass"}},
		{name: "policyTypes lists Egress only", policies: map[string]string{"a/p": `{policyTypes: [Egress], ingress: [{ports: [{port: 81}]}]}`}, probes: []string{in + "pass", out + "drop"}},
		{name: "policyTypes lists Ingress only", policies: map[string]string{"a/p": `{policyTypes: [Ingress], egress: [{ports: [{port: 81}]}]}`}, probes: []string{in + "drop", out + "pass"}},
		{name: "podSelector missing selects the namespace", policies: map[string]string{"a/p": `{policyTypes: [Ingress]}`}, probes: []string{in + "drop", "b/client > a/db tcp/80: drop", "a/web > b/web tcp/80: pass"}},
		{name: "podSelector empty selects the namespace", policies: map[string]string{"a/p": `{podSelector: {matchLabels: {}, matchExpressions: []}}`}, probes: []string{in + "drop", "b/client > a/db tcp/80: drop"}},
		{name: "ingress empty and listed denies all", policies: map[string]string{"a/p": `{policyTypes: [Ingress], ingress: []}`}, probes: []string{in + "drop", "a/api > a/web icmp: drop"}},
		{name: "egress missing and listed denies all", policies: map[string]string{"a/p": denyEgress}, probes: []string{out + "drop", "a/web > a/api icmp: drop"}},
		{name: "empty rule allows every source", policies: map[string]string{"a/p": onlyWeb + `ingress: [{}]}`}, probes: []string{in + "pass", "8.8.8.8 > a/web icmp: pass", "192.168.0.2 > a/web udp/1: pass"}},
		{name: "null and empty peers allow every source", policies: map[string]string{"a/p": ports(`[{port: 80}]`), "a/q": onlyWeb + `ingress: [{from: [], ports: [{port: 81}]}, {from: null, ports: [{port: 82}]}]}`},
			probes: []string{in + "pass", "8.8.8.8 > a/web tcp/81: pass", "8.8.8.8 > a/web tcp/82: pass", "8.8.8.8 > a/web tcp/83: drop"}},
		{name: "podSelector alone is the policy's namespace", policies: map[string]string{"a/p": from(`[{podSelector: {}}]`)}, probes: []string{"a/api > a/web tcp/1: pass", in + "drop", "8.8.8.8 > a/web tcp/1: drop"}},
		{name: "namespaceSelector alone is all pods of those namespaces", policies: map[string]string{"a/p": from(`[{namespaceSelector: {matchLabels: {team: b}}}]`)}, probes: []string{in + "pass", "b/web > a/web tcp/1: pass", "a/api > a/web tcp/1: drop", "ghost/web > a/web tcp/1: drop"}},
		{name: "empty namespaceSelector is all namespaces and no external address", policies: map[string]string{"a/p": from(`[{namespaceSelector: {}}]`)}, probes: []string{in + "pass", "a/api > a/web tcp/1: pass", "8.8.8.8 > a/web tcp/1: drop", "192.168.0.2 > a/web tcp/1: drop"}},
		{name: "both selectors in one peer are ANDed", policies: map[string]string{"a/p": from(`[{namespaceSelector: {matchLabels: {team: b}}, podSelector: {matchLabels: {app: web}}}]`)}, probes: []string{"b/web > a/web tcp/1: pass", in + "drop", "ghost/web > a/web tcp/1: drop"}},
		{name: "two peers are ORed", policies: map[string]string{"a/p": from(`[{namespaceSelector: {matchLabels: {env: prod}}}, {podSelector: {matchLabels: {app: api}}}]`)}, probes: []string{in + "pass", "a/api > a/web tcp/1: pass", "a/db > a/web tcp/1: drop"}},
		{name: "unknown namespace: namespaceSelector does not match, the own podSelector does", policies: map[string]string{
			"a/p":     from(`[{namespaceSelector: {}}, {namespaceSelector: {matchExpressions: [{key: team, operator: DoesNotExist}]}}]`),
			"ghost/p": `{policyTypes: [Ingress, Egress], ingress: [{from: [{podSelector: {}}, {namespaceSelector: {matchLabels: {team: b}}}]}], egress: [{to: [{ipBlock: {cidr: 10.0.1.1/32}}]}]}`,
		}, change: func(_ *testing.T, s *State) {
			twin := find(t, s, "ghost/web").DeepCopy()
			twin.Name, twin.Status.PodIP = "twin", "10.0.2.7"
			s.Pods = append(s.Pods, twin)
		}, probes: []string{"ghost/web > a/web tcp/1: drop", "b/web > ghost/web tcp/1: pass", "a/web > ghost/web tcp/1: drop", "8.8.8.8 > ghost/web tcp/1: drop",
			"ghost/twin > ghost/web tcp/1 at n2: drop", "ghost/web > b/client tcp/1: drop"}},
		{name: "unknown namespace: pods of it match the policy's own podSelector", policies: map[string]string{"ghost/p": `{ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]}`}, change: func(_ *testing.T, s *State) {
			twin := find(t, s, "ghost/web").DeepCopy()
			twin.Name, twin.Status.PodIP = "twin", "10.0.2.7"
			s.Pods = append(s.Pods, twin)
		}, probes: []string{"ghost/twin > ghost/web tcp/1: pass", "b/web > ghost/web tcp/1: drop"}},
		{name: "except is a hole in one peer and no deny", policies: map[string]string{
			"a/p": from(`[{ipBlock: {cidr: 8.0.0.0/8, except: [8.8.0.0/16]}}, {ipBlock: {cidr: 8.8.8.0/24}}]`),
			"a/q": from(`[{ipBlock: {cidr: 8.8.9.9/32}}]`),
		}, probes: []string{"8.1.1.1 > a/web tcp/1: pass", "8.8.1.1 > a/web tcp/1: drop", "8.8.8.1 > a/web tcp/1: pass", "8.8.9.9 > a/web tcp/1: pass"}},
		{name: "overlapping blocks keep their own except", policies: map[string]string{
			"a/p": onlyWeb + `ingress: [{from: [{ipBlock: {cidr: 8.0.0.0/8, except: [8.8.0.0/16]}}, {ipBlock: {cidr: 8.0.0.0/7, except: [8.9.0.0/16, 8.8.8.0/24]}}]}]}`,
		}, probes: []string{"8.8.1.1 > a/web tcp/1: pass", "8.9.1.1 > a/web tcp/1: pass", "8.8.8.1 > a/web tcp/1: drop", "9.1.1.1 > a/web tcp/1: pass", "10.1.1.1 > a/web tcp/1: drop"}},
		{name: "all of IPv4 leaves IPv6 isolated", policies: map[string]string{"a/p": from(`[{ipBlock: {cidr: 0.0.0.0/0}}]`)}, probes: []string{in + "pass", "8.8.8.8 > a/web icmp: pass", "b/client.6 > a/web.6 tcp/1: drop"}},
		{name: "all of IPv6 leaves IPv4 isolated", policies: map[string]string{"a/p": from(`[{ipBlock: {cidr: "::/0"}}]`)}, probes: []string{"b/client.6 > a/web.6 tcp/1: pass", in + "drop"}},
		{name: "NotIn and DoesNotExist match objects without the key", policies: map[string]string{"a/p": from(`[{podSelector: {matchExpressions: [{key: tier, operator: NotIn, values: [back]}]}}]`),
			"a/q": `{podSelector: {matchExpressions: [{key: tier, operator: DoesNotExist}]}}`}, change: set("b/web", func(p *corev1.Pod) { p.Namespace, p.Labels = "a", nil; p.Name = "bare" }),
			probes: []string{"a/bare > a/web tcp/1: pass", "a/db > a/web tcp/1: pass", "a/api > a/web tcp/1: drop", "a/api > a/bare tcp/1: drop", "a/bare > a/api tcp/1: pass"}},
		{name: "In and Exists need the key, an empty value is a value", policies: map[string]string{
			"a/p": onlyWeb + `ingress: [{ports: [{port: 1}], from: [{podSelector: {matchExpressions: [{key: tier, operator: Exists}]}}]}, {ports: [{port: 2}], from: [{podSelector: {matchExpressions: [{key: tier, operator: In, values: ["", x]}]}}]},
				{ports: [{port: 3}], from: [{podSelector: {matchLabels: {tier: ""}}}]}]}`,
		}, probes: []string{"a/api > a/web tcp/1: pass", "a/db > a/web tcp/1: pass", "a/api > a/web tcp/2: drop", "a/db > a/web tcp/2: pass", "a/db > a/web tcp/3: pass", "a/api > a/web tcp/3: drop", in + "drop"}},
		{name: "an empty value among others is not a missing key", policies: map[string]string{
			"a/p": onlyWeb + `ingress: [{ports: [{port: 1}], from: [{podSelector: {matchExpressions: [{key: none, operator: In, values: [""]}]}}]}, {ports: [{port: 2}], from: [{podSelector: {matchExpressions: [{key: none, operator: NotIn, values: [""]}]}}]},
				{ports: [{port: 3}], from: [{podSelector: {matchLabels: {none: ""}}}]}]}`,
		}, probes: []string{"a/api > a/web tcp/1: drop", "a/api > a/web tcp/2: pass", "a/api > a/web tcp/3: drop"}},
		{name: "requirements are ANDed", policies: map[string]string{"a/p": from(`[{podSelector: {matchLabels: {app: api}, matchExpressions: [{key: tier, operator: NotIn, values: [back]}]}}]`)}, probes: []string{"a/api > a/web tcp/1: drop"}},
	})
}

// TestPorts has a row for each row of "objects" about ports.
func TestPorts(t *testing.T) {
	always, never := corev1.ContainerRestartPolicyAlways, corev1.ContainerRestartPolicyNever
	run(t, []row{
		{name: "ports missing or empty are all ports of all protocols", policies: map[string]string{"a/p": ports(`[]`)}, probes: []string{"8.8.8.8 > a/web tcp/1: pass", "8.8.8.8 > a/web sctp/1: pass", "8.8.8.8 > a/web icmp: pass", "8.8.8.8 > a/web ip/47: pass"}},
		{name: "an item without port is all ports of its protocol", policies: map[string]string{"a/p": ports(`[{protocol: UDP}]`)}, probes: []string{"8.8.8.8 > a/web udp/1: pass", "8.8.8.8 > a/web udp/65535: pass", "8.8.8.8 > a/web tcp/1: drop"}},
		{name: "an empty item is all TCP", policies: map[string]string{"a/p": ports(`[{}]`)}, probes: []string{"8.8.8.8 > a/web tcp/1: pass", "8.8.8.8 > a/web udp/1: drop", "8.8.8.8 > a/web icmp: drop"}},
		{name: "protocol missing is TCP", policies: map[string]string{"a/p": ports(`[{port: 80}, {port: 81}]`)}, probes: []string{"8.8.8.8 > a/web tcp/80: pass", "8.8.8.8 > a/web tcp/81: pass", "8.8.8.8 > a/web udp/80: drop", "8.8.8.8 > a/web tcp/79: drop"}},
		{name: "SCTP is its own protocol and isolates", policies: map[string]string{"a/p": ports(`[{protocol: SCTP, port: 80}]`)}, probes: []string{"8.8.8.8 > a/web sctp/80: pass", "8.8.8.8 > a/web tcp/80: drop", "8.8.8.8 > a/web udp/80: drop", "8.8.8.8 > a/web sctp/81: drop"}},
		{name: "endPort is inclusive", policies: map[string]string{"a/p": ports(`[{port: 80, endPort: 82}, {protocol: UDP, port: 65535, endPort: 65535}]`)}, probes: []string{
			"8.8.8.8 > a/web tcp/79: drop", "8.8.8.8 > a/web tcp/80: pass", "8.8.8.8 > a/web tcp/82: pass", "8.8.8.8 > a/web tcp/83: drop", "8.8.8.8 > a/web udp/65535: pass", "8.8.8.8 > a/web udp/65534: drop"}},
		{name: "named port of the destination pod, two numbers for one name", policies: map[string]string{"a/p": `{ingress: [{ports: [{port: http}]}]}`}, probes: []string{
			"8.8.8.8 > a/web tcp/80: pass", "8.8.8.8 > a/web tcp/8080: drop", "8.8.8.8 > a/api tcp/8080: pass", "8.8.8.8 > a/api tcp/80: drop", "8.8.8.8 > a/web udp/80: drop"}},
		{name: "named port in egress is the destination pod's", policies: map[string]string{"b/p": `{policyTypes: [Egress], egress: [{ports: [{port: http}]}]}`}, probes: []string{
			"b/client > a/web tcp/80: pass", "b/client > a/api tcp/8080: pass", "b/client > a/api tcp/80: drop", "b/client > a/db tcp/80: drop", "b/client > 8.8.8.8 tcp/80: drop", "b/client > a/host tcp/80: drop"}},
		{name: "named port that no pod has, or under another protocol, matches nothing", policies: map[string]string{"a/p": ports(`[{port: nope}, {port: dns}, {protocol: UDP, port: http}]`)}, probes: []string{
			"8.8.8.8 > a/web tcp/53: drop", "8.8.8.8 > a/web udp/53: drop", "8.8.8.8 > a/web udp/80: drop", "8.8.8.8 > a/web tcp/80: drop"}},
		{name: "named port with its protocol", policies: map[string]string{"a/p": ports(`[{protocol: UDP, port: dns}]`)}, probes: []string{"8.8.8.8 > a/web udp/53: pass", "8.8.8.8 > a/web tcp/53: drop"}},
		{name: "first container port of a name counts", change: set("a/web", func(p *corev1.Pod) {
			p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 81}, {Name: "adm", ContainerPort: 7}, {Name: "adm", ContainerPort: 6, Protocol: "UDP"}}})
			p.Spec.InitContainers = []corev1.Container{
				{Ports: []corev1.ContainerPort{{Name: "setup", ContainerPort: 1}, {Name: "side", ContainerPort: 2}}},
				{Ports: []corev1.ContainerPort{{Name: "side", ContainerPort: 5}}, RestartPolicy: &never},
				{Ports: []corev1.ContainerPort{{Name: "side", ContainerPort: 3}, {Name: "adm", ContainerPort: 4}}, RestartPolicy: &always},
			}
		}), policies: map[string]string{"a/p": ports(`[{port: http}, {port: adm}, {port: setup}, {port: side}]`)}, probes: []string{
			"8.8.8.8 > a/web tcp/80: pass", "8.8.8.8 > a/web tcp/81: drop", "8.8.8.8 > a/web tcp/7: pass", "8.8.8.8 > a/web udp/6: drop", "8.8.8.8 > a/web tcp/4: drop",
			"8.8.8.8 > a/web tcp/1: drop", "8.8.8.8 > a/web tcp/2: drop", "8.8.8.8 > a/web tcp/5: drop", "8.8.8.8 > a/web tcp/3: pass"}},
	})
}
