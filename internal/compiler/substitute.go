package compiler

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
)

// ClosedPolicies returns policies that can replace one that does not compile, from the closest to the simplest. None
// of them is more open: each isolates at least the pods and directions that np isolates, and has no rules.
func ClosedPolicies(np *networkingv1.NetworkPolicy) []*networkingv1.NetworkPolicy {
	closed := func(isolates [2]bool) *networkingv1.NetworkPolicy {
		out := &networkingv1.NetworkPolicy{ObjectMeta: np.ObjectMeta}
		if isolates[program.Ingress] {
			out.Spec.PolicyTypes = append(out.Spec.PolicyTypes, networkingv1.PolicyTypeIngress)
		}
		if isolates[program.Egress] {
			out.Spec.PolicyTypes = append(out.Spec.PolicyTypes, networkingv1.PolicyTypeEgress)
		}
		return out
	}
	same := closed(isolates(&np.Spec))
	same.Spec.PodSelector = np.Spec.PodSelector
	return []*networkingv1.NetworkPolicy{same, closed([2]bool{true, true})}
}

// ClosedPods returns pods that can replace one that does not compile. The only one is the pod without its ports: rules
// that name a port of the pod no longer match it, and every policy still selects it.
func ClosedPods(p *corev1.Pod) []*corev1.Pod {
	out := p.DeepCopy()
	for i := range out.Spec.Containers {
		out.Spec.Containers[i].Ports = nil
	}
	out.Spec.InitContainers = nil
	return []*corev1.Pod{out}
}
