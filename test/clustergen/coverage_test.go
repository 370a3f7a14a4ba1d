package clustergen

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"pgregory.net/rapid"

	"github.com/netpol-agent/netpol-agent/test/oracle"
)

const draws = 2000

// TestStatesHaveEveryFeature counts what occurs in the states of both kinds of draws.
func TestStatesHaveEveryFeature(t *testing.T) {
	const enough = 4
	random := State()
	for kind, draw := range map[string]func(int) oracle.State{
		"rapid": func(i int) oracle.State { return random.Example(i) },
		"seed":  func(i int) oracle.State { return StateFromSeed(uint64(i)) },
	} {
		seen := map[string]int{}
		for i := range draws {
			have := map[string]bool{}
			features(draw(i), func(name string) { have[name] = true })
			for name := range have {
				seen[name]++
			}
		}
		for _, name := range wanted() {
			if seen[name] < enough {
				t.Errorf("%s: %q occurs in %d of %d states, want at least %d", kind, name, seen[name], draws, enough)
			}
		}
	}
}

// wanted lists the features that must occur, including those of the tables.
func wanted() []string {
	all := []string{
		"hostNetwork pod", "terminating pod", "pod without address", "pod on no node", "dual-stack pod", "IPv6-only pod", "shared address", "shared across nodes", "junk address", "IPv4-mapped address", "address with a zone", "two IPv4 addresses",
		"pod in unknown namespace", "policy in unknown namespace", "node without known addresses", "one node", "three nodes",
		"sidecar", "plain init container", "one name, two numbers", "one name, two protocols", "two pods, one name, two numbers", "SCTP container port", "undefaulted container port", "bad container port",
		"two policies on one pod", "policy without selector", "bad policy selector",
		"rule without peers", "rule with empty peers", "rule without ports", "rule with empty ports", "empty rule", "peer without field", "podSelector peer", "namespaceSelector peer", "both selectors",
		"ipBlock peer", "ipBlock with selector", "bad peer selector", "empty namespaceSelector", "selector by namespace name", "except", "several excepts", "except equal to CIDR", "except outside", "except of other family",
		"except larger than CIDR", "bad except", "overlapping blocks in one rule", "missing protocol", "missing port", "empty port item", "endPort", "endPort below port", "endPort with name", "endPort without port", "endPort too large", "port of all numbers",
		"policyTypes missing with egress", "policyTypes without the rules' direction",
	}
	for _, phase := range []corev1.PodPhase{"", corev1.PodPending, corev1.PodRunning, corev1.PodSucceeded, corev1.PodFailed, corev1.PodUnknown} {
		all = append(all, "phase "+string(phase))
	}
	for _, list := range []string{`[]`, `["Ingress"]`, `["Egress"]`, `["Ingress" "Egress"]`, `["Egress" "Ingress"]`, `["Ingress" "Ingress"]`, `["Egress" "Ingress" "Egress"]`, `["Foo"]`, `["Ingress" "Foo"]`, `["Foo" "Egress"]`, `[""]`, `["egress"]`} {
		all = append(all, "policyTypes "+list)
	}
	for _, text := range slices.Concat(goodCIDRs, oldCIDRTexts, badCIDRs) {
		all = append(all, "cidr "+text)
	}
	for _, name := range slices.Concat([]string{http.text, dns.text, sctp.text, "missing"}, badPortNames) {
		all = append(all, "port "+name)
	}
	for _, n := range slices.Concat(portNumbers, badPortNumbers) {
		all = append(all, fmt.Sprint("port ", n))
	}
	for _, protocol := range slices.Concat(badProtocols, []corev1.Protocol{"TCP", "UDP", "SCTP"}) {
		all = append(all, "protocol "+string(protocol))
	}
	for _, o := range []metav1.LabelSelectorOperator{"In", "NotIn", "Exists", "DoesNotExist", "Foo", "Gt", "exists", ""} {
		all = append(all, "operator "+string(o))
	}
	return all
}

// features calls saw with the name of each feature of a state.
func features(s oracle.State, saw func(string)) {
	when := func(yes bool, name string) {
		if yes {
			saw(name)
		}
	}
	when(len(s.NodeAddrs) == 1, "one node")
	when(len(s.NodeAddrs) == 3, "three nodes")
	podFeatures(s, when)
	for _, p := range s.Policies {
		when(!known(s, p.Namespace), "policy in unknown namespace")
		when(len(p.Spec.PodSelector.MatchLabels)+len(p.Spec.PodSelector.MatchExpressions) == 0, "policy without selector")
		when(!parses(&p.Spec.PodSelector), "bad policy selector")
		saw(fmt.Sprintf("policyTypes %q", p.Spec.PolicyTypes))
		when(len(p.Spec.PolicyTypes) == 0 && len(p.Spec.Egress) > 0, "policyTypes missing with egress")
		when(slices.Equal(p.Spec.PolicyTypes, []networkingv1.PolicyType{"Ingress"}) && len(p.Spec.Egress) > 0, "policyTypes without the rules' direction")
		for _, r := range p.Spec.Ingress {
			ruleFeatures(r.From, r.Ports, when)
		}
		for _, r := range p.Spec.Egress {
			ruleFeatures(r.To, r.Ports, when)
		}
	}
	eachPeer(s, func(p *networkingv1.NetworkPolicyPeer) { peerFeatures(p, when) })
	eachPort(s, func(p *networkingv1.NetworkPolicyPort) { portFeatures(p, when) })
}

// known reports whether the object of a namespace exists.
func known(s oracle.State, name string) bool {
	return slices.ContainsFunc(s.Namespaces, func(n *corev1.Namespace) bool { return n.Name == name })
}

func podFeatures(s oracle.State, when func(bool, string)) {
	owners := map[netip.Addr][]*corev1.Pod{}
	numbers := map[string]map[int32]bool{}
	for _, p := range s.Pods {
		addrs := podAddrs(p)
		when(true, "phase "+string(p.Status.Phase))
		when(p.Spec.HostNetwork, "hostNetwork pod")
		when(p.DeletionTimestamp != nil, "terminating pod")
		when(len(addrs) == 0, "pod without address")
		when(p.Spec.NodeName == "", "pod on no node")
		when(p.Spec.NodeName != "" && s.NodeAddrs[p.Spec.NodeName] == nil, "node without known addresses")
		when(len(addrs) == 2, "dual-stack pod")
		when(len(addrs) == 1 && addrs[0].Is6(), "IPv6-only pod")
		when(len(addrs) == 2 && addrs[0].Is4() && addrs[1].Is4() && !p.Spec.HostNetwork, "two IPv4 addresses")
		when(!known(s, p.Namespace), "pod in unknown namespace")
		for _, ip := range p.Status.PodIPs {
			a, err := netip.ParseAddr(ip.IP)
			when(err != nil, "junk address")
			when(a.Is4In6(), "IPv4-mapped address")
			when(a.Zone() != "", "address with a zone")
		}
		selecting := 0
		for _, policy := range s.Policies {
			if policy.Namespace == p.Namespace && mayMatch(&policy.Spec.PodSelector, p.Labels) {
				selecting++
			}
		}
		when(selecting >= 2, "two policies on one pod")
		if !p.Spec.HostNetwork && p.Status.Phase == corev1.PodRunning {
			for _, a := range addrs {
				for _, other := range owners[a] {
					when(true, "shared address")
					when(other.Spec.NodeName != p.Spec.NodeName, "shared across nodes")
				}
				owners[a] = append(owners[a], p)
			}
		}
		containerFeatures(p, numbers, when)
	}
}

// containerFeatures names the features of a pod's containers; numbers holds the port numbers of each name in all pods.
func containerFeatures(p *corev1.Pod, numbers map[string]map[int32]bool, when func(bool, string)) {
	for _, c := range p.Spec.InitContainers {
		sidecar := c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
		when(sidecar && len(c.Ports) > 0, "sidecar")
		when(!sidecar && len(c.Ports) > 0, "plain init container")
	}
	first := map[string]corev1.ContainerPort{}
	eachContainerPort(p, func(c corev1.ContainerPort) {
		when(c.Protocol == corev1.ProtocolSCTP, "SCTP container port")
		when(c.Protocol == "", "undefaulted container port")
		when(c.ContainerPort < 1 || c.ContainerPort > 65535, "bad container port")
		one, ok := first[c.Name]
		when(ok && one.Protocol == c.Protocol && one.ContainerPort != c.ContainerPort, "one name, two numbers")
		when(ok && one.Protocol != c.Protocol, "one name, two protocols")
		first[c.Name] = c
		if numbers[c.Name] == nil {
			numbers[c.Name] = map[int32]bool{}
		}
		numbers[c.Name][c.ContainerPort] = true
		when(len(numbers[c.Name]) > 1, "two pods, one name, two numbers")
	})
}

func ruleFeatures(peers []networkingv1.NetworkPolicyPeer, ports []networkingv1.NetworkPolicyPort, when func(bool, string)) {
	when(peers == nil, "rule without peers")
	when(peers != nil && len(peers) == 0, "rule with empty peers")
	when(ports == nil, "rule without ports")
	when(ports != nil && len(ports) == 0, "rule with empty ports")
	when(len(peers) == 0 && len(ports) == 0, "empty rule")
	var blocks []netip.Prefix
	for _, p := range peers {
		if p.IPBlock == nil {
			continue
		}
		block, err := netip.ParsePrefix(p.IPBlock.CIDR)
		if err != nil {
			continue
		}
		when(slices.ContainsFunc(blocks, block.Overlaps), "overlapping blocks in one rule")
		blocks = append(blocks, block)
	}
}

func peerFeatures(p *networkingv1.NetworkPolicyPeer, when func(bool, string)) {
	pods, namespaces, block := p.PodSelector != nil, p.NamespaceSelector != nil, p.IPBlock != nil
	when(!pods && !namespaces && !block, "peer without field")
	when(pods && !namespaces && !block, "podSelector peer")
	when(!pods && namespaces && !block, "namespaceSelector peer")
	when(pods && namespaces && !block, "both selectors")
	when(block && !pods && !namespaces, "ipBlock peer")
	when(block && (pods || namespaces), "ipBlock with selector")
	for _, selector := range []*metav1.LabelSelector{p.PodSelector, p.NamespaceSelector} {
		if selector == nil {
			continue
		}
		when(!parses(selector), "bad peer selector")
		when(selector.MatchLabels[corev1.LabelMetadataName] != "", "selector by namespace name")
		for _, e := range selector.MatchExpressions {
			when(true, "operator "+string(e.Operator))
		}
	}
	when(namespaces && len(p.NamespaceSelector.MatchLabels)+len(p.NamespaceSelector.MatchExpressions) == 0, "empty namespaceSelector")
	if !block {
		return
	}
	when(true, "cidr "+p.IPBlock.CIDR)
	when(len(p.IPBlock.Except) > 0, "except")
	when(len(p.IPBlock.Except) > 1, "several excepts")
	cidr, err := netip.ParsePrefix(p.IPBlock.CIDR)
	for _, text := range p.IPBlock.Except {
		hole, bad := netip.ParsePrefix(text)
		when(slices.Contains(badCIDRs, text), "bad except")
		when(text == p.IPBlock.CIDR && err == nil, "except equal to CIDR")
		if err == nil && bad == nil {
			when(cidr.Addr().Is4() != hole.Addr().Is4(), "except of other family")
			when(cidr.Addr().Is4() == hole.Addr().Is4() && !cidr.Overlaps(hole), "except outside")
			when(cidr.Overlaps(hole) && hole.Bits() < cidr.Bits(), "except larger than CIDR")
		}
	}
}

func portFeatures(p *networkingv1.NetworkPolicyPort, when func(bool, string)) {
	when(p.Protocol == nil, "missing protocol")
	if p.Protocol != nil {
		when(true, "protocol "+string(*p.Protocol))
	}
	when(p.Port == nil && p.EndPort == nil, "missing port")
	when(*p == networkingv1.NetworkPolicyPort{}, "empty port item")
	when(p.EndPort != nil, "endPort")
	when(p.Port == nil && p.EndPort != nil, "endPort without port")
	if p.Port == nil {
		return
	}
	when(true, "port "+p.Port.String())
	number := p.Port.Type == intstr.Int
	when(!number && p.EndPort != nil, "endPort with name")
	if number && p.EndPort != nil {
		when(*p.EndPort < p.Port.IntVal, "endPort below port")
		when(*p.EndPort > 65535, "endPort too large")
		when(p.Port.IntVal == 1 && *p.EndPort == 65535, "port of all numbers")
	}
}

// TestPacketsAreInteresting counts the reasons that decide about random packets.
func TestPacketsAreInteresting(t *testing.T) {
	for kind, draw := range map[string]func(oracle.State, int) []oracle.Packet{
		"rapid": func(s oracle.State, i int) []oracle.Packet { return rapid.SliceOfN(Packet(s), 10, 10).Example(i) },
		"seed":  func(s oracle.State, i int) []oracle.Packet { return PacketsFromSeed(s, uint64(i), 10) },
	} {
		count, judged := map[string]int{}, 0
		for i := range draws {
			s := StateFromSeed(uint64(i))
			for _, p := range draw(s, i) {
				if p.Src.Is4() != p.Dst.Is4() || p.Protocol == oracle.ICMPv6 && p.Src.Is4() || p.Src.Is4In6() || p.Dst.Is4In6() {
					t.Fatalf("%s: %s is not a possible packet", kind, p)
				}
				count[fmt.Sprint("protocol ", p.Protocol)]++
				for _, node := range nodeNames {
					for _, j := range oracle.JudgeAt(s, node, p) {
						judged++
						count[string(j.Direction)+" "+string(j.Reason)]++
					}
				}
			}
		}
		share := map[string]float64{}
		for _, direction := range []string{"egress ", "ingress "} {
			for reason, percent := range map[oracle.Reason]float64{oracle.Self: 1, oracle.NeighbourDiscovery: 0.2, oracle.OwnNode: 1, oracle.NotIsolated: 10, oracle.RuleMatched: 4, oracle.NoRuleMatched: 10} {
				share[direction+string(reason)] = percent
			}
		}
		for _, protocol := range []uint8{oracle.TCP, oracle.UDP, oracle.SCTP, oracle.ICMP, oracle.ICMPv6, 47} {
			share[fmt.Sprint("protocol ", protocol)] = 0.5
		}
		for name, percent := range share {
			if have := 100 * float64(count[name]) / float64(judged); have < percent {
				t.Errorf("%s: %q decides %.2f %% of %d judgments, want at least %.2f %%", kind, name, have, judged, percent)
			}
		}
	}
}
