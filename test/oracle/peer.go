package oracle

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

// anyPeerMatches reports whether the address matches a rule's list of peers.
//
// API: "Items in this list are combined using a logical OR operation. If this field is empty or missing, this rule
// matches all sources [...] If this field is present and contains at least one item, this rule allows traffic only if
// the traffic matches at least one item in the from list."
func (s State) anyPeerMatches(policy *networkingv1.NetworkPolicy, peers []networkingv1.NetworkPolicyPeer, addr netip.Addr) bool {
	if len(peers) == 0 {
		return true
	}
	for _, peer := range peers {
		if s.peerMatches(policy, peer, addr) {
			return true
		}
	}
	return false
}

// peerMatches reports whether the address matches one peer.
func (s State) peerMatches(policy *networkingv1.NetworkPolicy, peer networkingv1.NetworkPolicyPeer, addr netip.Addr) bool {
	selector := peer.PodSelector != nil || peer.NamespaceSelector != nil
	if peer.IPBlock != nil {
		// API: "If this field is set then neither of the other fields can be." Ours: then the peer matches nothing.
		return !selector && blockMatches(*peer.IPBlock, addr)
	}
	// Ours: a peer without a field that we know matches nothing.
	if !selector {
		return false
	}
	pods := s.podsAt(addr)
	// API: both selectors select pods; an address that no pod has is not selected, however wide the selectors are.
	if len(pods) == 0 {
		return false
	}
	// Ours: which of several pods sent from one address cannot be known, so all of them must be selected.
	for _, pod := range pods {
		if !s.podMatches(policy, peer, pod) {
			return false
		}
	}
	return true
}

// podMatches reports whether the pod is selected by a peer that has a podSelector, a namespaceSelector or both.
func (s State) podMatches(policy *networkingv1.NetworkPolicy, peer networkingv1.NetworkPolicyPeer, pod *corev1.Pod) bool {
	// Ours: a selector that cannot be parsed matches nothing.
	if peer.PodSelector != nil && !parses(peer.PodSelector) || peer.NamespaceSelector != nil && !parses(peer.NamespaceSelector) {
		return false
	}
	if peer.NamespaceSelector == nil {
		// API: "Otherwise it selects the pods matching podSelector in the policy's own namespace."
		return pod.Namespace == policy.Namespace && selectorMatches(peer.PodSelector, pod.Labels)
	}
	// Ours: a namespace whose object is not known matches no selector, not even the empty one.
	namespace := s.namespace(pod.Namespace)
	if namespace == nil || !selectorMatches(peer.NamespaceSelector, namespace.Labels) {
		return false
	}
	// API: "Otherwise it selects all pods in the namespaces selected by namespaceSelector."
	if peer.PodSelector == nil {
		return true
	}
	// API: "the NetworkPolicyPeer as a whole selects the pods matching podSelector in the namespaces selected by
	// namespaceSelector."
	return selectorMatches(peer.PodSelector, pod.Labels)
}

// namespace returns the Namespace object of that name, or nil if it is not known.
func (s State) namespace(name string) *corev1.Namespace {
	for _, n := range s.Namespaces {
		if n.Name == name {
			return n
		}
	}
	return nil
}
