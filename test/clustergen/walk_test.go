package clustergen

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/netpol-agent/netpol-agent/test/oracle"
)

// copyState returns a copy of the state whose objects can be changed.
func copyState(s oracle.State) oracle.State {
	c := oracle.State{NodeAddrs: s.NodeAddrs}
	for _, o := range s.Pods {
		c.Pods = append(c.Pods, o.DeepCopy())
	}
	for _, o := range s.Namespaces {
		c.Namespaces = append(c.Namespaces, o.DeepCopy())
	}
	for _, o := range s.Policies {
		c.Policies = append(c.Policies, o.DeepCopy())
	}
	return c
}

// eachPeer visits every peer of every rule.
func eachPeer(s oracle.State, visit func(*networkingv1.NetworkPolicyPeer)) {
	for _, p := range s.Policies {
		for i := range p.Spec.Ingress {
			for j := range p.Spec.Ingress[i].From {
				visit(&p.Spec.Ingress[i].From[j])
			}
		}
		for i := range p.Spec.Egress {
			for j := range p.Spec.Egress[i].To {
				visit(&p.Spec.Egress[i].To[j])
			}
		}
	}
}

// eachPortList visits the list of ports of every rule.
func eachPortList(s oracle.State, visit func(*[]networkingv1.NetworkPolicyPort)) {
	for _, p := range s.Policies {
		for i := range p.Spec.Ingress {
			visit(&p.Spec.Ingress[i].Ports)
		}
		for i := range p.Spec.Egress {
			visit(&p.Spec.Egress[i].Ports)
		}
	}
}

// eachPort visits every item of every rule's list of ports.
func eachPort(s oracle.State, visit func(*networkingv1.NetworkPolicyPort)) {
	eachPortList(s, func(ports *[]networkingv1.NetworkPolicyPort) {
		for i := range *ports {
			visit(&(*ports)[i])
		}
	})
}

// eachSelector visits the selectors of every peer.
func eachSelector(s oracle.State, visit func(*metav1.LabelSelector)) {
	eachPeer(s, func(p *networkingv1.NetworkPolicyPeer) {
		for _, selector := range []*metav1.LabelSelector{p.PodSelector, p.NamespaceSelector} {
			if selector != nil {
				visit(selector)
			}
		}
	})
}

// eachPod visits every pod.
func eachPod(s oracle.State, visit func(*corev1.Pod)) {
	for _, p := range s.Pods {
		visit(p)
	}
}

// parses reports whether the API machinery understands a selector.
func parses(selector *metav1.LabelSelector) bool {
	_, err := metav1.LabelSelectorAsSelector(selector)
	return err == nil
}
