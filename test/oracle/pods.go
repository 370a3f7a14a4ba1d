package oracle

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
)

// podsAt returns the participating pods that report the address.
func (s State) podsAt(addr netip.Addr) []*corev1.Pod {
	var found []*corev1.Pod
	for _, pod := range s.Pods {
		if !participates(pod) {
			continue
		}
		for _, a := range addrs(pod) {
			if a == addr {
				found = append(found, pod)
				break
			}
		}
	}
	return found
}

// participates reports whether policies can select the pod and peers can match it.
func participates(pod *corev1.Pod) bool {
	// Docs leave hostNetwork pods undefined, and name a common model: selectors ignore them, and their traffic counts
	// as traffic of the node's address. Ours: that model.
	if pod.Spec.HostNetwork {
		return false
	}
	// Ours: a pod that has ended holds no address any more, whatever its status says. A pod that is being deleted but
	// still runs (deletionTimestamp set) takes part as before.
	return pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed
}

// addrs returns the addresses that the pod reports, without those that cannot be parsed.
//
// API (PodStatus.podIPs): "podIPs holds the IP addresses allocated to the pod. If this field is specified, the 0th entry
// must match the podIP field." Ours: an object where they differ has both.
func addrs(pod *corev1.Pod) []netip.Addr {
	texts := []string{pod.Status.PodIP}
	for _, ip := range pod.Status.PodIPs {
		texts = append(texts, ip.IP)
	}
	var all []netip.Addr
	for _, text := range texts {
		a, err := netip.ParseAddr(text)
		if err != nil {
			continue
		}
		all = append(all, plain(a))
	}
	return all
}

// isNodeAddr reports whether addr is one of the addresses of the node.
func (s State) isNodeAddr(node string, addr netip.Addr) bool {
	for _, a := range s.NodeAddrs[node] {
		if plain(a) == addr {
			return true
		}
	}
	return false
}

// plain returns the address as packets carry it: IPv4-mapped IPv6 as IPv4, without a zone.
func plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }
