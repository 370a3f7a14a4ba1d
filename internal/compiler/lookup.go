package compiler

import (
	"cmp"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Pod is what the compiler reads from a pod object besides its labels, for callers that ask about one pod. Nothing
// else in the object affects how it is judged.
type Pod struct {
	Name types.NamespacedName
	// Node is the node that the pod is assigned to, or empty.
	Node string
	// HostNetwork reports whether the pod uses its node's network. Such a pod is never isolated and never a peer.
	HostNetwork bool
	// Over reports whether all containers have ended for good. The pod's addresses may be in use again.
	Over bool
	// Addrs are the addresses that the pod's status reports, sorted, unmapped and without zone.
	Addrs []netip.Addr
	// NodeAddrs are the addresses of its node that the pod's status reports, in the same form.
	NodeAddrs []netip.Addr

	ports map[namedPort]uint16
}

// ReadPod reads a pod object as SetPod does.
func ReadPod(p *corev1.Pod) Pod {
	return Pod{
		Name:        types.NamespacedName{Namespace: p.Namespace, Name: p.Name},
		Node:        p.Spec.NodeName,
		HostNetwork: p.Spec.HostNetwork,
		Over:        over(p),
		Addrs:       podAddrs(p),
		NodeAddrs:   podNodeAddrs(p),
		ports:       podPorts(p),
	}
}

// Port returns the number of a named port. ok is false if the pod has no port of that name and protocol, or if its
// number is outside 1 to 65535; policies that use the name then do not match the pod.
func (p *Pod) Port(name string, protocol corev1.Protocol) (number uint16, ok bool) {
	n, known := protocolNumber(protocol)
	if !known {
		return 0, false
	}
	number = p.ports[namedPort{n, name}]
	return number, number != 0
}

// PortNames returns the names that Port finds, sorted, as in "http/TCP".
func (p *Pod) PortNames() []string {
	var out []string
	for port, number := range p.ports {
		if number != 0 {
			out = append(out, port.name+"/"+protocolName(port.protocol))
		}
	}
	slices.Sort(out)
	return out
}

// PodsAt returns the pods, sorted by name, that report the address and that policies can judge. Pods that are over
// and pods with hostNetwork are left out.
func (c *Compiler) PodsAt(a netip.Addr) []types.NamespacedName {
	at := c.addrs[a.Unmap().WithZone("")]
	if at == nil {
		return nil
	}
	var out []types.NamespacedName
	for _, p := range at.pods {
		out = append(out, p.key)
	}
	slices.SortFunc(out, func(a, b types.NamespacedName) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return out
}

// over reports whether all containers of the pod have ended for good.
func over(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

// podAddrs returns every address that the pod's status reports.
func podAddrs(p *corev1.Pod) []netip.Addr {
	texts := []string{p.Status.PodIP}
	for _, ip := range p.Status.PodIPs {
		texts = append(texts, ip.IP)
	}
	return parseAddrs(texts)
}

// podNodeAddrs returns every address of its node that the pod's status reports.
func podNodeAddrs(p *corev1.Pod) []netip.Addr {
	texts := []string{p.Status.HostIP}
	for _, ip := range p.Status.HostIPs {
		texts = append(texts, ip.IP)
	}
	return parseAddrs(texts)
}

// parseAddrs returns the addresses that the texts hold, sorted, each once, unmapped and without zone: a zone has no
// meaning outside the pod. A text that is not an address is skipped: a pod without an address needs no rule.
func parseAddrs(texts []string) []netip.Addr {
	var out []netip.Addr
	for _, text := range texts {
		if a, err := netip.ParseAddr(text); err == nil {
			out = append(out, a.Unmap().WithZone(""))
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}
