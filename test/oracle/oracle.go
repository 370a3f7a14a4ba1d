// Package oracle answers, for a packet and a set of Kubernetes objects, whether NetworkPolicy lets the packet pass. It
// is a second reading of the specification for tests: it interprets the API objects as they stand, one packet at a
// time, with nested loops and without an index, a cache or an intermediate form. It shares no code with the selector,
// the compiler or the evaluator, so that a mistake in one of them shows as a disagreement.
//
// It decides the verdict on the first packet of a new connection, with the addresses that the packet carries after
// destination NAT and before source NAT. It does not decide anything about replies, Services, established connections
// or the order in which events arrive, and it reports no diagnostics.
//
// Comments mark where a sentence comes from: "API" is a doc comment of k8s.io/api/networking/v1 or core/v1, "docs" the
// Kubernetes documentation's page on Network Policies, "ours" a decision where both are silent. All of our decisions
// fail closed: what cannot be understood matches nothing, and still isolates.
package oracle

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

// State is everything a verdict depends on. The oracle only reads it.
type State struct {
	// Pods are all pods of the cluster; namespace/name is unique.
	Pods []*corev1.Pod
	// Namespaces are the Namespace objects that are known. A pod or a policy may be in a namespace that is not.
	Namespaces []*corev1.Namespace
	// Policies are all NetworkPolicies of the cluster; namespace/name is unique.
	Policies []*networkingv1.NetworkPolicy
	// NodeAddrs holds every address of each node, by the node's name.
	NodeAddrs map[string][]netip.Addr
}

// IP protocol numbers that NetworkPolicy knows, and the two ICMPs.
const (
	ICMP   uint8 = 1
	TCP    uint8 = 6
	UDP    uint8 = 17
	ICMPv6 uint8 = 58
	SCTP   uint8 = 132
)

// Packet is the first packet of a new connection, as a filter sees it after destination NAT and before source NAT.
type Packet struct {
	// Src and Dst are of one family. IPv4-mapped IPv6 is read as IPv4, and a zone is ignored.
	Src, Dst netip.Addr
	// Protocol is the IP protocol number.
	Protocol uint8
	// DstPort is the destination port; it is ignored unless Protocol is TCP, UDP or SCTP.
	DstPort uint16
	// ICMPv6Type is ignored unless Protocol is ICMPv6.
	ICMPv6Type uint8
	// Bridge is the bridge of the node's pods that switches the packet from port to port. It is empty for a packet that
	// is routed.
	Bridge string
}

// Allowed reports whether p passes when every node of the cluster enforces policy.
//
// Docs: "For a connection from a source pod to a destination pod to be allowed, both the egress policy on the source
// pod and the ingress policy on the destination pod need to allow the connection. If either side does not allow the
// connection, it will not happen."
func Allowed(s State, p Packet) bool {
	for _, node := range s.nodes() {
		if !AllowedAt(s, node, p) {
			return false
		}
	}
	return true
}

// AllowedAt reports whether p passes the node named node, which judges egress for its own source pods and ingress for
// its own destination pods, and nothing else.
func AllowedAt(s State, node string, p Packet) bool {
	for _, j := range JudgeAt(s, node, p) {
		if !j.Pass {
			return false
		}
	}
	return !s.unclear(node, p)
}

// unclear reports whether a packet on a bridge may concern an isolated pod, but its addresses do not tell.
//
// Ours: an isolated pod gets only what a rule allows, and no rule can mean an address that the API does not know. So
// while a pod of the node is isolated, a packet on the pods' bridge does not pass if it is to or from a link-local
// address, or to many. Only neighbour discovery does.
func (s State) unclear(node string, p Packet) bool {
	src, dst := plain(p.Src), plain(p.Dst)
	discovery := p.Protocol == ICMPv6 && src.Is6() && p.ICMPv6Type >= 133 && p.ICMPv6Type <= 137
	// Docs: traffic between the node and its pods is always allowed.
	ofNode := s.isNodeAddr(node, src) || s.isNodeAddr(node, dst)
	if p.Bridge == "" || discovery || ofNode || !s.anyIsolated(node) {
		return false
	}
	many := dst.IsMulticast() || dst.String() == "255.255.255.255"
	return many || src.Is6() && src.IsLinkLocalUnicast() || dst.Is6() && dst.IsLinkLocalUnicast()
}

// anyIsolated reports whether a policy isolates a pod of the node that has an address.
func (s State) anyIsolated(node string) bool {
	for _, pod := range s.Pods {
		if node == "" || pod.Spec.NodeName != node || !participates(pod) || len(addrs(pod)) == 0 {
			continue
		}
		for _, policy := range s.Policies {
			if selects(policy, pod) && (isolates(policy, Ingress) || isolates(policy, Egress)) {
				return true
			}
		}
	}
	return false
}

// nodes returns the names of all nodes that have addresses or pods, sorted.
func (s State) nodes() []string {
	var names []string
	for name := range s.NodeAddrs {
		names = append(names, name)
	}
	for _, pod := range s.Pods {
		names = append(names, pod.Spec.NodeName)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	// A pod that no node runs yet is judged by no node.
	return slices.DeleteFunc(names, func(name string) bool { return name == "" })
}
