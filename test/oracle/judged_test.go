package oracle

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	denyAll     = `{policyTypes: [Ingress, Egress]}`
	denyIngress = `{policyTypes: [Ingress]}`
	denyEgress  = `{policyTypes: [Egress]}`
)

// TestWhoIsJudged has a row for each row of "who is judged, and where".
func TestWhoIsJudged(t *testing.T) {
	ended := func(phase corev1.PodPhase) func(*testing.T, *State) {
		return set("a/web", func(p *corev1.Pod) { p.Status.Phase = phase })
	}
	run(t, []row{
		{name: "pod selected by no policy in a direction is open", policies: map[string]string{
			"a/p": `{podSelector: {matchLabels: {app: db}}}`,
		}, probes: []string{"b/client > a/web tcp/80: pass", "a/web > b/client udp/9: pass", "8.8.8.8 > a/web icmp: pass", "b/client > a/db tcp/80: drop"}},
		{name: "a policy of another namespace selects nothing here", policies: map[string]string{"b/p": denyAll}, probes: []string{
			"a/web > a/api tcp/80: pass", "a/web > b/client tcp/80: drop"}},
		{name: "isolated pod passes the union of its policies' rules only", policies: map[string]string{
			"a/p": `{ingress: [{ports: [{port: 80}]}]}`,
			"a/q": `{ingress: [{from: [{podSelector: {matchLabels: {app: api}}}]}, {ports: [{port: 81}]}]}`,
		}, probes: []string{"b/client > a/web tcp/80: pass", "b/client > a/web tcp/81: pass", "a/api > a/web udp/5: pass", "b/client > a/web tcp/82: drop", "b/client > a/web udp/80: drop"}},
		{name: "source egress and destination ingress must both allow", policies: map[string]string{
			"a/out": `{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [{ports: [{port: 80}, {port: 81}]}]}`,
			"a/in":  `{podSelector: {matchLabels: {app: api}}, policyTypes: [Ingress], ingress: [{ports: [{port: 81}, {port: 82}]}]}`,
		}, probes: []string{"a/web > a/api tcp/81: pass", "a/web > a/api tcp/80: drop", "a/web > a/api tcp/82: drop"}},
		{name: "each node judges only its own pods", policies: map[string]string{"a/out": denyEgress, "b/in": denyIngress}, probes: []string{
			"a/web > b/client tcp/80 at n1: drop", "a/web > b/client tcp/80 at n2: drop", "a/web > b/client tcp/80: drop",
			"a/web > 8.8.8.8 tcp/80 at n2: pass", "8.8.8.8 > b/client tcp/80 at n1: pass", "8.8.8.8 > b/client tcp/80 at n2: drop",
			"8.8.8.8 > 9.9.9.9 tcp/80: pass"}},
		{name: "a node without known addresses judges its pods", change: func(_ *testing.T, s *State) { delete(s.NodeAddrs, "n2") }, policies: map[string]string{"b/p": denyAll},
			probes: []string{"8.8.8.8 > b/client tcp/80: drop", "192.168.0.2 > b/client tcp/80: drop"}},
		{name: "a pod that no node runs is judged by none and is still a peer", change: set("a/api", func(p *corev1.Pod) { p.Spec.NodeName = "" }), policies: map[string]string{
			"a/p": `{ingress: [{from: [{podSelector: {matchLabels: {app: api}}}]}]}`,
		}, probes: []string{"8.8.8.8 > a/api tcp/80: pass", "a/api > a/db tcp/80: pass"}},
		{name: "a pod to its own address passes", policies: map[string]string{"a/p": denyAll}, probes: []string{
			"a/web > a/web tcp/80: pass", "a/web.6 > a/web.6 icmp6/128: pass", "a/web > a/api tcp/80: drop"}},
		{name: "pod and its own node pass both ways, another node is external", policies: map[string]string{"a/p": denyAll}, probes: []string{
			"192.168.0.1 > a/web tcp/80: pass", "a/web > 192.168.0.1 tcp/80: pass", "10.0.1.254 > a/web udp/1: pass", "fd00:1::fe > a/web.6 icmp6/128: pass",
			"192.168.0.2 > a/web tcp/80: drop", "a/web > 192.168.0.2 tcp/80: drop", "192.168.0.1 > a/db tcp/80: drop", "192.168.0.2 > a/db tcp/80: pass"}},
		{name: "hostNetwork pods are selected by no policy", policies: map[string]string{"a/p": denyAll}, probes: []string{
			"a/host > 8.8.8.8 tcp/80: pass", "8.8.8.8 > a/host tcp/80: pass"}},
		{name: "hostNetwork pods are matched by no pod or namespace peer", policies: map[string]string{
			"a/p": `{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {}}, {namespaceSelector: {}}]}]}`,
			"b/p": `{ingress: [{from: [{ipBlock: {cidr: 192.168.0.1/32}}]}]}`,
		}, probes: []string{"a/host > a/db tcp/80: drop", "a/web > a/db tcp/80: pass", "a/host > b/client tcp/80: pass"}},
		{name: "a Succeeded pod is out of every set", change: ended(corev1.PodSucceeded), policies: map[string]string{
			"a/p": denyAll, "b/p": `{ingress: [{from: [{namespaceSelector: {}}]}]}`,
		}, probes: []string{"8.8.8.8 > a/web tcp/80: pass", "a/web > 8.8.8.8 tcp/80: pass", "a/web > b/client tcp/80: drop"}},
		{name: "a Failed pod is out of every set", change: ended(corev1.PodFailed), policies: map[string]string{
			"a/p": denyAll, "b/p": `{ingress: [{from: [{namespaceSelector: {}}]}]}`,
		}, probes: []string{"8.8.8.8 > a/web tcp/80: pass", "a/web > b/client tcp/80: drop"}},
		{name: "the address of a Succeeded pod belongs to the pod that has it now", change: func(t *testing.T, s *State) {
			find(t, s, "a/web").Status.Phase = corev1.PodSucceeded
			find(t, s, "a/api").Status.PodIP = "10.0.1.1"
		}, policies: map[string]string{
			"a/p": `{podSelector: {matchLabels: {app: web}}}`,
			"b/p": `{ingress: [{from: [{namespaceSelector: {}, podSelector: {matchLabels: {app: api}}}]}]}`,
		}, probes: []string{"8.8.8.8 > 10.0.1.1 tcp/80: pass", "10.0.1.1 > b/client tcp/80: pass"}},
		{name: "a Pending pod with an address and an unknown phase take part", change: ended(corev1.PodPending), policies: map[string]string{"a/p": denyAll},
			probes: []string{"8.8.8.8 > a/web tcp/80: drop"}},
		{name: "a terminating pod stays isolated and stays a peer", change: set("a/web", func(p *corev1.Pod) {
			p.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)}
		}), policies: map[string]string{
			"a/p": denyIngress, "b/p": `{ingress: [{from: [{namespaceSelector: {}}]}]}`,
		}, probes: []string{"8.8.8.8 > a/web tcp/80: drop", "a/web > b/client tcp/80: pass"}},
		{name: "a pod without an address is nobody", change: set("a/web", func(p *corev1.Pod) {
			p.Status.PodIP, p.Status.PodIPs = "", []corev1.PodIP{{IP: "not-an-address"}}
		}), policies: map[string]string{"a/p": denyAll}, probes: []string{"10.0.1.1 > 8.8.8.8 tcp/80: pass", "a/api > 8.8.8.8 tcp/80: drop"}},
		{name: "every address of a pod is judged", policies: map[string]string{
			"a/p": `{podSelector: {matchLabels: {app: web}}, ingress: [{from: [{podSelector: {}}, {namespaceSelector: {matchLabels: {team: b}}}], ports: [{port: 80}]}]}`,
		}, probes: []string{"a/web.6 > b/client.6 tcp/1: pass", "b/client.6 > a/web.6 tcp/80: pass", "b/client.6 > a/web.6 tcp/81: drop", "2001:db8::1 > a/web.6 tcp/80: drop", "b/client > a/web tcp/81: drop"}},
		{name: "podIP and podIPs both count, IPv4-mapped ones as IPv4", change: set("a/web", func(p *corev1.Pod) {
			p.Status.PodIP, p.Status.PodIPs = "10.9.9.9", []corev1.PodIP{{IP: "bad"}, {IP: "::ffff:10.9.9.8"}}
		}), policies: map[string]string{"a/p": denyAll}, probes: []string{
			"10.9.9.9 > 8.8.8.8 tcp/80: drop", "10.9.9.8 > 8.8.8.8 tcp/80: drop", "::ffff:10.9.9.8 > 8.8.8.8 tcp/80: drop", "10.0.1.1 > 8.8.8.8 tcp/80: pass"}},
		{name: "echo and other protocols pass only by a rule without ports", policies: map[string]string{
			"a/p": `{podSelector: {matchLabels: {app: web}}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: b}}}]}, {ports: [{}, {protocol: UDP}, {protocol: SCTP}]}]}`,
		}, probes: []string{"b/client > a/web icmp: pass", "b/client.6 > a/web.6 icmp6/128: pass", "b/client > a/web ip/47: pass",
			"8.8.8.8 > a/web icmp: drop", "2001:db8::1 > a/web.6 icmp6/128: drop", "8.8.8.8 > a/web ip/47: drop", "8.8.8.8 > a/web tcp/0: pass"}},
		{name: "neighbour discovery and router messages always pass", policies: map[string]string{"a/p": denyAll}, probes: []string{
			"2001:db8::1 > a/web.6 icmp6/132: drop", "2001:db8::1 > a/web.6 icmp6/133: pass", "a/web.6 > 2001:db8::1 icmp6/135: pass",
			"a/web.6 > ff02::1 icmp6/136: pass", "2001:db8::1 > a/web.6 icmp6/137: pass", "2001:db8::1 > a/web.6 icmp6/138: drop", "8.8.8.8 > a/web icmp6/135: drop"}},
		{name: "ipBlock matches pods too", policies: map[string]string{
			"a/p": `{podSelector: {matchLabels: {app: web}}, ingress: [{from: [{ipBlock: {cidr: 10.0.2.0/24, except: [10.0.2.5/32]}}]}]}`,
		}, probes: []string{"b/client > a/web tcp/80: pass", "b/web > a/web tcp/80: drop", "a/api > a/web tcp/80: drop", "10.0.2.200 > a/web tcp/80: pass"}},
	})
}

// TestSharedAddress has rows for two running pods that report one address.
func TestSharedAddress(t *testing.T) {
	share := func(t *testing.T, s *State) { find(t, s, "b/web").Status.PodIP = "10.0.1.2" } // with a/api, on another node
	run(t, []row{
		{name: "both keep their isolation", change: share, policies: map[string]string{
			"a/p": `{ingress: [{ports: [{port: 80}, {port: 81}]}]}`,
			"b/p": `{podSelector: {matchLabels: {app: web}}, ingress: [{ports: [{port: 81}, {port: 82}]}]}`,
		}, probes: []string{"8.8.8.8 > a/api tcp/80: drop", "8.8.8.8 > a/api tcp/81: pass", "8.8.8.8 > a/api tcp/82: drop",
			"8.8.8.8 > a/api tcp/80 at n1: pass", "8.8.8.8 > a/api tcp/80 at n2: drop", "8.8.8.8 > a/api tcp/82 at n2: pass"}},
		{name: "one isolated and one open is isolated", change: share, policies: map[string]string{"b/p": denyAll}, probes: []string{
			"8.8.8.8 > a/api tcp/80: drop", "a/api > 8.8.8.8 tcp/80: drop", "a/api > 8.8.8.8 tcp/80 at n1: pass"}},
		{name: "each pod's own node passes only at that node", change: share, policies: map[string]string{"a/p": denyAll, "b/p": denyAll}, probes: []string{
			"192.168.0.1 > a/api tcp/80 at n1: pass", "192.168.0.1 > a/api tcp/80 at n2: drop", "192.168.0.1 > a/api tcp/80: drop"}},
		{name: "a peer must match every pod of the address", change: share, policies: map[string]string{
			"a/p": `{podSelector: {matchLabels: {app: db}}, ingress: [
				{from: [{podSelector: {matchLabels: {app: api}}}], ports: [{port: 1}]},
				{from: [{namespaceSelector: {}, podSelector: {matchLabels: {app: api}}}, {namespaceSelector: {}, podSelector: {matchLabels: {app: web}}}], ports: [{port: 2}]},
				{from: [{namespaceSelector: {}, podSelector: {matchExpressions: [{key: app, operator: In, values: [api, web]}]}}], ports: [{port: 3}]},
				{from: [{ipBlock: {cidr: 10.0.1.2/32}}], ports: [{port: 4}]}]}`,
		}, probes: []string{"a/api > a/db tcp/1: drop", "a/api > a/db tcp/2: drop", "a/api > a/db tcp/3: pass", "a/api > a/db tcp/4: pass"}},
		{name: "a named port must be one number on every pod of the address", change: func(t *testing.T, s *State) {
			share(t, s)
			find(t, s, "b/web").Spec.Containers[0].Ports = []corev1.ContainerPort{{Name: "http", ContainerPort: 80}, {Name: "metrics", ContainerPort: 9}}
			find(t, s, "a/api").Spec.Containers[0].Ports = []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}, {Name: "metrics", ContainerPort: 9}}
		}, policies: map[string]string{
			"a/p": `{podSelector: {matchLabels: {app: api}}, ingress: [{ports: [{port: http}, {port: metrics}]}]}`,
			"a/q": `{podSelector: {matchLabels: {app: db}}, policyTypes: [Egress], egress: [{ports: [{port: http}, {port: metrics}]}]}`,
		}, probes: []string{"8.8.8.8 > a/api tcp/8080: drop", "8.8.8.8 > a/api tcp/80: drop", "8.8.8.8 > a/api tcp/9: pass",
			"a/db > a/api tcp/8080: drop", "a/db > a/api tcp/80: drop", "a/db > a/api tcp/9: pass"}},
		{name: "a pod that has ended does not count", change: func(t *testing.T, s *State) {
			share(t, s)
			find(t, s, "b/web").Status.Phase = corev1.PodFailed
		}, policies: map[string]string{
			"b/p": denyAll,
			"a/p": `{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: api}}}]}]}`,
		}, probes: []string{"8.8.8.8 > a/api tcp/80: pass", "a/api > a/db tcp/80: pass"}},
	})
}
