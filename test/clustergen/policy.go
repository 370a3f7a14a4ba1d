package clustergen

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// policy returns the policy of a slot: its names are the slot's, all else is random.
func policy(s source, slot int) *networkingv1.NetworkPolicy {
	p := &networkingv1.NetworkPolicy{}
	p.Namespace, p.Name = slotNames(slot, policyNames)
	if s.intn(5) >= 2 {
		p.Spec.PodSelector = *selector(s)
	}
	p.Spec.PolicyTypes = policyTypes(s)
	p.Spec.Ingress = many(s, 0, 3, ingressRule)
	p.Spec.Egress = many(s, 0, 3, egressRule)
	return p
}

// policyTypes returns one of the lists that differ in meaning, or one that is refused.
func policyTypes(s source) []networkingv1.PolicyType {
	const in, out = networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress
	return append([]networkingv1.PolicyType(nil), pick(s, [][]networkingv1.PolicyType{
		nil, {in}, {out}, {in, out}, {in}, {out}, {in, out}, {}, {out, in}, {in, in}, {out, in, out}, {"Foo"}, {in, "Foo"}, {"Foo", out}, {""}, {"egress"},
	})...)
}

func ingressRule(s source) networkingv1.NetworkPolicyIngressRule {
	return networkingv1.NetworkPolicyIngressRule{From: peers(s), Ports: ports(s)}
}

func egressRule(s source) networkingv1.NetworkPolicyEgressRule {
	return networkingv1.NetworkPolicyEgressRule{To: peers(s), Ports: ports(s)}
}

// peers returns a rule's list of peers, which is missing or empty in one of six cases.
func peers(s source) []networkingv1.NetworkPolicyPeer {
	switch s.intn(12) {
	case 0:
		return nil
	case 1:
		return []networkingv1.NetworkPolicyPeer{}
	default:
		return many(s, 1, 3, peer)
	}
}

// peer returns a peer; about one in ten has a combination of fields that is refused.
func peer(s source) networkingv1.NetworkPolicyPeer {
	switch s.intn(14) {
	case 0, 1, 2:
		return networkingv1.NetworkPolicyPeer{PodSelector: selector(s)}
	case 3, 4:
		return networkingv1.NetworkPolicyPeer{NamespaceSelector: selector(s)}
	case 5:
		return networkingv1.NetworkPolicyPeer{NamespaceSelector: namespaceByName(s)}
	case 6, 7:
		return networkingv1.NetworkPolicyPeer{NamespaceSelector: selector(s), PodSelector: selector(s)}
	case 8, 9, 10, 11:
		return networkingv1.NetworkPolicyPeer{IPBlock: ipBlock(s)}
	case 12:
		return networkingv1.NetworkPolicyPeer{IPBlock: ipBlock(s), PodSelector: selector(s)}
	default:
		if oneIn(s, 2) {
			return networkingv1.NetworkPolicyPeer{IPBlock: ipBlock(s), NamespaceSelector: selector(s)}
		}
		return networkingv1.NetworkPolicyPeer{}
	}
}

// namespaceByName selects one namespace by the label that API servers put on it.
func namespaceByName(s source) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: pick(s, namespaceNames)}}
}

// ipBlock returns a block with exceptions of all kinds: inside, outside, equal, larger, of the other family, repeated,
// and impossible to understand.
func ipBlock(s source) *networkingv1.IPBlock {
	b := &networkingv1.IPBlock{CIDR: cidr(s)}
	if s.intn(5) < 2 {
		return b
	}
	b.Except = many(s, 0, 3, func(s source) string {
		switch s.intn(8) {
		case 6:
			return pick(s, badCIDRs)
		case 7:
			return b.CIDR
		default:
			return cidr(s)
		}
	})
	return b
}

// cidr returns the text of a block, in about one of 25 cases one that cannot be understood.
func cidr(s source) string {
	switch kind := s.intn(25); {
	case kind < 20:
		return pick(s, goodCIDRs)
	case kind < 24:
		return pick(s, oldCIDRTexts)
	default:
		return pick(s, badCIDRs)
	}
}

// ports returns a rule's list of ports, which is missing or empty in one of four cases.
func ports(s source) []networkingv1.NetworkPolicyPort {
	switch s.intn(8) {
	case 0:
		return nil
	case 1:
		return []networkingv1.NetworkPolicyPort{}
	default:
		return many(s, 1, 3, port)
	}
}

// port returns one item of a rule's list of ports; about one in four is refused.
func port(s source) networkingv1.NetworkPolicyPort {
	var p networkingv1.NetworkPolicyPort
	if kind := s.intn(16); kind > 4 {
		protocol := []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP}[kind%3]
		if kind == 15 {
			protocol = pick(s, badProtocols)
		}
		p.Protocol = &protocol
	}
	switch kind := s.intn(16); {
	case kind < 5:
		p.Port = number(pick(s, portNumbers))
	case kind < 7: // all ports
	case kind < 11:
		chosen := pick(s, portNames)
		p.Port = name(chosen.text)
		if s.intn(4) != 3 {
			p.Protocol = &chosen.protocol
		}
	case kind == 11:
		from := pick(s, portNumbers)
		p.Port, p.EndPort = number(from), endPort(min(from+int32(s.intn(4)), 65535))
	case kind == 12:
		p.Port, p.EndPort = number(1), endPort(65535)
	default:
		return badPort(s, p)
	}
	return p
}

// badPort returns a port that is refused, with the protocol of p.
func badPort(s source, p networkingv1.NetworkPolicyPort) networkingv1.NetworkPolicyPort {
	chosen := pick(s, portNames)
	switch s.intn(10) {
	case 0:
		p.Port, p.EndPort = number(81), endPort(80)
	case 1, 9:
		p.Port, p.EndPort, p.Protocol = name(chosen.text), endPort(443), &chosen.protocol
	case 2:
		p.EndPort = endPort(443)
	case 3:
		p.Port, p.EndPort = number(1), endPort(pick(s, []int32{65536, 65536 + 443, 0, -1}))
	case 4, 5:
		p.Port = number(pick(s, badPortNumbers))
	case 6:
		p.Port, p.EndPort = number(pick(s, badPortNumbers)), endPort(pick(s, []int32{443, 65535, 1 << 30}))
	default:
		p.Port = name(pick(s, badPortNames))
	}
	return p
}

func number(n int32) *intstr.IntOrString {
	return &intstr.IntOrString{Type: intstr.Int, IntVal: n}
}

func name(text string) *intstr.IntOrString {
	return &intstr.IntOrString{Type: intstr.String, StrVal: text}
}

func endPort(n int32) *int32 { return &n }
