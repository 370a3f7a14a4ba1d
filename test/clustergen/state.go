package clustergen

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/netpol-agent/netpol-agent/test/oracle"
)

// state returns a random cluster.
func state(s source) oracle.State {
	st := oracle.State{NodeAddrs: nodes(s)}
	for i, n := range namespaceNames {
		if namespaceKnown(s, i) {
			st.Namespaces = append(st.Namespaces, namespace(s, n))
		}
	}
	// Two lists, because one is seldom long enough. An object whose slot is taken is left out.
	var pods, policies [slots]bool
	for _, p := range append(many(s, 0, 10, slotted(pod)), many(s, 0, 10, slotted(pod))...) {
		if !pods[p.slot] {
			pods[p.slot] = true
			st.Pods = append(st.Pods, p.object)
		}
	}
	for _, p := range append(many(s, 0, 6, slotted(policy)), many(s, 0, 6, slotted(policy))...) {
		if !policies[p.slot] {
			policies[p.slot] = true
			st.Policies = append(st.Policies, p.object)
		}
	}
	return st
}

// slotObject is an object that fills a slot.
type slotObject interface {
	*corev1.Pod | *networkingv1.NetworkPolicy
}

// inSlot is an object with its slot.
type inSlot[T slotObject] struct {
	slot   int
	object T
}

// slotted makes the generator of a slot's object choose the slot first.
func slotted[T slotObject](generate func(source, int) T) func(source) inSlot[T] {
	return func(s source) inSlot[T] {
		slot := s.intn(slots)
		return inSlot[T]{slot, generate(s, slot)}
	}
}

// namespaceKnown decides whether the object of a namespace exists; the last one's seldom does.
func namespaceKnown(s source, index int) bool {
	if index == len(namespaceNames)-1 {
		return oneIn(s, 4)
	}
	return !oneIn(s, 10)
}

// nodes returns the addresses of one to three nodes; pods may run on a node whose addresses are not known.
func nodes(s source) map[string][]netip.Addr {
	known := map[string][]netip.Addr{}
	for i := range 1 + s.intn(len(nodeNames)) {
		addrs := nodeAddrs(i)
		known[nodeNames[i]] = addrs[:len(addrs)-s.intn(3)]
	}
	return known
}
