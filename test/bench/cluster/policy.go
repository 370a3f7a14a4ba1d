package cluster

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// shape returns one of the policies that a namespace has.
type shape struct {
	name string
	spec func(ns int) networkingv1.NetworkPolicySpec
}

// shapes are what users write: the examples of the Kubernetes documentation and their relatives.
var shapes = []shape{
	{"default-deny", defaultDeny},
	{"allow-frontend-to-backend", frontendToBackend},
	{"same-namespace", sameNamespace},
	{"allow-dns", allowDNS},
	{"restrict-egress", restrictEgress},
	{"allow-web", allowWeb},
	{"database", database},
	{"alice-clients", aliceClients},
	{"namespace-expressions", namespaceExpressions},
	{"metrics", metrics},
}

// Policy returns the n-th policy of a namespace. From the eleventh on the shapes repeat.
func Policy(ns, n int) *networkingv1.NetworkPolicy {
	s := shapes[n%len(shapes)]
	name := s.name
	if n >= len(shapes) {
		name = fmt.Sprintf("%s-%d", s.name, n/len(shapes)+1)
	}
	return &networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: NamespaceName(ns), Name: name, Generation: 1,
			UID: types.UID(fmt.Sprintf("%04x-%04x", ns, n)),
		},
		Spec: s.spec(ns),
	}
}

// Shapes returns the number of different policies that Policy creates for a namespace.
func Shapes() int { return len(shapes) }

var (
	ingressOnly = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
	egressOnly  = []networkingv1.PolicyType{networkingv1.PolicyTypeEgress}
	bothWays    = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress}
)

type peers = []networkingv1.NetworkPolicyPeer

func with(kv ...string) *metav1.LabelSelector {
	ls := &metav1.LabelSelector{}
	for i := 0; i+1 < len(kv); i += 2 {
		if ls.MatchLabels == nil {
			ls.MatchLabels = map[string]string{}
		}
		ls.MatchLabels[kv[i]] = kv[i+1]
	}
	return ls
}

func pods(kv ...string) networkingv1.NetworkPolicyPeer {
	return networkingv1.NetworkPolicyPeer{PodSelector: with(kv...)}
}

func namespaces(kv ...string) networkingv1.NetworkPolicyPeer {
	return networkingv1.NetworkPolicyPeer{NamespaceSelector: with(kv...)}
}

func block(cidr string, except ...string) networkingv1.NetworkPolicyPeer {
	return networkingv1.NetworkPolicyPeer{IPBlock: &networkingv1.IPBlock{CIDR: cidr, Except: except}}
}

func ports(proto corev1.Protocol, ps ...intstr.IntOrString) []networkingv1.NetworkPolicyPort {
	var out []networkingv1.NetworkPolicyPort
	for i := range ps {
		out = append(out, networkingv1.NetworkPolicyPort{Protocol: &proto, Port: &ps[i]})
	}
	return out
}

func num(n int) intstr.IntOrString      { return intstr.FromInt32(int32(n)) }
func named(s string) intstr.IntOrString { return intstr.FromString(s) }

func from(ps peers, pp ...networkingv1.NetworkPolicyPort) networkingv1.NetworkPolicyIngressRule {
	return networkingv1.NetworkPolicyIngressRule{From: ps, Ports: pp}
}

func to(ps peers, pp ...networkingv1.NetworkPolicyPort) networkingv1.NetworkPolicyEgressRule {
	return networkingv1.NetworkPolicyEgressRule{To: ps, Ports: pp}
}

func defaultDeny(int) networkingv1.NetworkPolicySpec {
	return networkingv1.NetworkPolicySpec{PolicyTypes: bothWays}
}

func allowDNS(int) networkingv1.NetworkPolicySpec {
	dns := networkingv1.NetworkPolicyPeer{NamespaceSelector: with(), PodSelector: with("k8s-app", "kube-dns")}
	return networkingv1.NetworkPolicySpec{
		PolicyTypes: egressOnly,
		Egress: []networkingv1.NetworkPolicyEgressRule{
			to(peers{dns}, append(ports(corev1.ProtocolUDP, num(53)), ports(corev1.ProtocolTCP, num(53))...)...),
		},
	}
}

func frontendToBackend(int) networkingv1.NetworkPolicySpec {
	return networkingv1.NetworkPolicySpec{
		PodSelector: *with("tier", "backend"), PolicyTypes: ingressOnly,
		Ingress: []networkingv1.NetworkPolicyIngressRule{
			from(peers{pods("tier", "frontend"), namespaces("env", "production")}, ports(corev1.ProtocolTCP, num(8080), num(8443))...),
		},
	}
}

func restrictEgress(int) networkingv1.NetworkPolicySpec {
	return networkingv1.NetworkPolicySpec{
		PodSelector: *with("app", "worker"), PolicyTypes: egressOnly,
		Egress: []networkingv1.NetworkPolicyEgressRule{
			to(peers{block("10.0.0.0/8")}, ports(corev1.ProtocolTCP, num(5432))...),
		},
	}
}

func allowWeb(ns int) networkingv1.NetworkPolicySpec {
	except := fmt.Sprintf("10.244.%d.0/24", ns%256)
	return networkingv1.NetworkPolicySpec{
		PodSelector: *with("app", "myapp"), PolicyTypes: ingressOnly,
		Ingress: []networkingv1.NetworkPolicyIngressRule{
			from(peers{block("10.244.0.0/16", except), pods("app", "myapp")}, ports(corev1.ProtocolTCP, named("http"))...),
		},
	}
}

func database(ns int) networkingv1.NetworkPolicySpec {
	return networkingv1.NetworkPolicySpec{
		PodSelector: *with("role", "db"), PolicyTypes: bothWays,
		Ingress: []networkingv1.NetworkPolicyIngressRule{
			from(peers{
				block("172.17.0.0/16", "172.17.1.0/24"),
				namespaces("project", fmt.Sprintf("project-%d", ns%10)),
				pods("role", "frontend"),
			}, ports(corev1.ProtocolTCP, num(6379))...),
		},
		Egress: []networkingv1.NetworkPolicyEgressRule{
			to(peers{block("10.0.0.0/24")}, ports(corev1.ProtocolTCP, num(5978))...),
		},
	}
}

func aliceClients(int) networkingv1.NetworkPolicySpec {
	clients := networkingv1.NetworkPolicyPeer{NamespaceSelector: with("user", "alice"), PodSelector: with("role", "client")}
	return networkingv1.NetworkPolicySpec{
		PolicyTypes: ingressOnly,
		Ingress:     []networkingv1.NetworkPolicyIngressRule{from(peers{clients})},
	}
}

func sameNamespace(int) networkingv1.NetworkPolicySpec {
	apps := metav1.LabelSelectorRequirement{
		Key: "app", Operator: metav1.LabelSelectorOpIn, Values: []string{"web", "api", "worker", "myapp"},
	}
	return networkingv1.NetworkPolicySpec{
		PodSelector: metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{apps}},
		PolicyTypes: egressOnly,
		Egress: []networkingv1.NetworkPolicyEgressRule{
			to(peers{pods()}),
			to(peers{namespaces("env", "production")}, ports(corev1.ProtocolTCP, num(8080), named("http"))...),
			to(peers{namespaces()}, ports(corev1.ProtocolUDP, num(8125))...),
		},
	}
}

func namespaceExpressions(ns int) networkingv1.NetworkPolicySpec {
	in := metav1.LabelSelectorRequirement{
		Key: corev1.LabelMetadataName, Operator: metav1.LabelSelectorOpIn,
		Values: []string{NamespaceName(ns), NamespaceName(0), NamespaceName(1)},
	}
	notIn := metav1.LabelSelectorRequirement{
		Key: corev1.LabelMetadataName, Operator: metav1.LabelSelectorOpNotIn, Values: []string{NamespaceName(0)},
	}
	by := func(r metav1.LabelSelectorRequirement) peers {
		return peers{{NamespaceSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{r}}}}
	}
	return networkingv1.NetworkPolicySpec{
		PodSelector: *with("tier", "frontend"), PolicyTypes: ingressOnly,
		Ingress: []networkingv1.NetworkPolicyIngressRule{from(by(in)), from(by(notIn), ports(corev1.ProtocolTCP, named("http"))...)},
	}
}

func metrics(int) networkingv1.NetworkPolicySpec {
	prometheus := networkingv1.NetworkPolicyPeer{NamespaceSelector: with(), PodSelector: with("app", "prometheus")}
	return networkingv1.NetworkPolicySpec{
		PolicyTypes: ingressOnly,
		Ingress: []networkingv1.NetworkPolicyIngressRule{
			from(peers{prometheus}, ports(corev1.ProtocolTCP, named("metrics"))...),
			from(peers{namespaces()}, ports(corev1.ProtocolUDP, num(8125))...),
		},
	}
}
