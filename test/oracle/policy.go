package oracle

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

// selects reports whether the policy applies to the pod.
//
// API: podSelector "selects the pods to which this NetworkPolicy object applies [...] An empty selector matches all pods
// in the policy's namespace [...] If it is not specified, it defaults to an empty selector."
func selects(policy *networkingv1.NetworkPolicy, pod *corev1.Pod) bool {
	if policy.Namespace != pod.Namespace {
		return false
	}
	// Ours: with a selector that cannot be parsed we do not know whom the policy selects, so it selects every pod.
	if !parses(&policy.Spec.PodSelector) {
		return true
	}
	return selectorMatches(&policy.Spec.PodSelector, pod.Labels)
}

// isolates reports whether the policy isolates the pods it selects in a direction.
func isolates(policy *networkingv1.NetworkPolicy, dir Direction) bool {
	// API: "policies that contain an egress section are assumed to affect egress, and all policies (whether or not they
	// contain an ingress section) are assumed to affect ingress." API defaulting requires at least one egress rule.
	if len(policy.Spec.PolicyTypes) == 0 {
		return dir == Ingress || len(policy.Spec.Egress) > 0
	}
	listed := false
	for _, t := range policy.Spec.PolicyTypes {
		switch t {
		case networkingv1.PolicyTypeIngress:
			listed = listed || dir == Ingress
		case networkingv1.PolicyTypeEgress:
			listed = listed || dir == Egress
		default:
			// Ours: a type that we do not know may mean either direction.
			return true
		}
	}
	// Docs: a direction that is not listed is not isolated, whatever rules it has.
	return listed
}
