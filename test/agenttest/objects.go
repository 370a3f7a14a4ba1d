// Package agenttest holds what the tests of internal/sync and its subpackages share: small objects, a backend that
// records what it was asked to write, and readings of metrics.
package agenttest

import (
	"maps"
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/netpol-agent/netpol-agent/internal/sync/source"
)

// Node is the name of the node whose pods are local.
const Node = "node-1"

// Update returns the update that an object, or a []netip.Addr of the node, has a new state.
func Update(tb testing.TB, obj any) source.Update {
	tb.Helper()
	switch o := obj.(type) {
	case *corev1.Pod:
		return source.Pod.Update(o)
	case *corev1.Namespace:
		return source.Namespace.Update(o)
	case *networkingv1.NetworkPolicy:
		return source.Policy.Update(o)
	case []netip.Addr:
		return source.NodeAddrs.Reported(o)
	}
	tb.Fatalf("no watched kind has objects of type %T", obj)
	return source.Update{}
}

// Gone returns the update that an object was deleted.
func Gone(tb testing.TB, obj any) source.Update {
	tb.Helper()
	u := Update(tb, obj)
	u.Object = nil
	return u
}

// Pod returns a running pod of namespace default.
func Pod(name, node, ip string, labels map[string]string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: maps.Clone(labels)},
		Spec:       corev1.PodSpec{NodeName: node},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, PodIP: ip, PodIPs: []corev1.PodIP{{IP: ip}}},
	}
}

// Local returns a pod of Node without labels.
func Local(name, ip string) *corev1.Pod { return Pod(name, Node, ip, nil) }

// DenyAll returns a policy that isolates every pod of namespace default in ingress.
func DenyAll(name string) *networkingv1.NetworkPolicy {
	return &networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("uid-" + name), Generation: 1},
		Spec:       networkingv1.NetworkPolicySpec{PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}},
	}
}

// AllowFrom returns DenyAll with a rule that accepts pods with these labels.
func AllowFrom(name string, peer map[string]string) *networkingv1.NetworkPolicy {
	np := DenyAll(name)
	np.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{
		From: []networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{MatchLabels: peer}}},
	}}
	return np
}

// BadBlock returns DenyAll with a rule that the compiler does not understand.
func BadBlock(name string) *networkingv1.NetworkPolicy {
	np := DenyAll(name)
	np.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{
		From: []networkingv1.NetworkPolicyPeer{{IPBlock: &networkingv1.IPBlock{CIDR: "not an address"}}},
	}}
	return np
}

// OnlyPort returns a policy that isolates pods labelled app=server in ingress, except for one port of TCP and UDP.
func OnlyPort(n int32) *networkingv1.NetworkPolicy {
	np := DenyAll("server")
	np.Spec.PodSelector.MatchLabels = map[string]string{"app": "server"}
	rule := networkingv1.NetworkPolicyIngressRule{}
	for _, protocol := range []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP} {
		port := intstr.FromInt32(n)
		rule.Ports = append(rule.Ports, networkingv1.NetworkPolicyPort{Protocol: &protocol, Port: &port})
	}
	np.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{rule}
	return np
}

// Addr parses an address.
func Addr(s string) netip.Addr { return netip.MustParseAddr(s) }
