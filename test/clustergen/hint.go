package clustergen

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	klabels "k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/netpol-agent/netpol-agent/test/oracle"
)

// service is a protocol with a port.
type service struct {
	protocol uint8
	port     uint16
}

// hint is where to look for packets that one rule may decide. It is a generous guess: it also holds what a lenient
// reading of the rule would let through.
type hint struct {
	ingress bool
	// local are the addresses of the pods that the policy may select; remote are those that the peers may mean.
	local, remote []netip.Addr
	services      []service
	// named are what the rule's named ports may mean at a destination.
	named map[netip.Addr][]service
}

// hints returns a hint for every rule of the state that may have local pods.
func hints(st oracle.State) []hint {
	var all []hint
	add := func(p *networkingv1.NetworkPolicy, ingress bool, peers []networkingv1.NetworkPolicyPeer, ports []networkingv1.NetworkPolicyPort) {
		local := podsLike(st, p.Namespace, &p.Spec.PodSelector, nil)
		if len(local) == 0 {
			return
		}
		h := hint{ingress: ingress, local: addrsOf(local), named: map[netip.Addr][]service{}}
		destinations := local
		if !ingress {
			destinations = st.Pods
		}
		for _, peer := range peers {
			h.remote = append(h.remote, peerAddrs(st, p.Namespace, peer)...)
		}
		for _, port := range ports {
			h.services = append(h.services, portServices(port)...)
			h.addNamed(port, destinations)
		}
		if len(h.local) > 0 {
			all = append(all, h)
		}
	}
	for _, p := range st.Policies {
		for _, r := range p.Spec.Ingress {
			add(p, true, r.From, r.Ports)
		}
		for _, r := range p.Spec.Egress {
			add(p, false, r.To, r.Ports)
		}
	}
	return all
}

// podsLike returns the pods that two selectors may mean. A nil selector of pods restricts nothing; with a nil selector
// of namespaces it looks in the namespace named home. A selector that cannot be parsed may mean everything.
func podsLike(st oracle.State, home string, pods, namespaces *metav1.LabelSelector) []*corev1.Pod {
	var like []*corev1.Pod
	for _, p := range st.Pods {
		in := p.Namespace == home
		if namespaces != nil {
			in = slices.ContainsFunc(st.Namespaces, func(n *corev1.Namespace) bool {
				return n.Name == p.Namespace && mayMatch(namespaces, n.Labels)
			})
		}
		if in && (pods == nil || mayMatch(pods, p.Labels)) {
			like = append(like, p)
		}
	}
	return like
}

// mayMatch reports whether a selector matches or cannot be parsed.
func mayMatch(selector *metav1.LabelSelector, labels map[string]string) bool {
	parsed, err := metav1.LabelSelectorAsSelector(selector)
	return err != nil || parsed.Matches(klabels.Set(labels))
}

// peerAddrs returns addresses that a peer may mean: those of pods, and the edges of blocks.
func peerAddrs(st oracle.State, home string, peer networkingv1.NetworkPolicyPeer) []netip.Addr {
	var addrs []netip.Addr
	if peer.IPBlock == nil || peer.PodSelector != nil || peer.NamespaceSelector != nil {
		addrs = addrsOf(podsLike(st, home, peer.PodSelector, peer.NamespaceSelector))
	}
	if peer.IPBlock == nil {
		return addrs
	}
	for _, text := range append([]string{peer.IPBlock.CIDR}, peer.IPBlock.Except...) {
		edges := blockEdges(text)
		if edges == nil {
			edges = outsiders[:2]
		}
		addrs = append(addrs, edges...)
	}
	return addrs
}

// portServices returns services on and beside those that an item of a rule's list of ports may mean by its numbers.
func portServices(port networkingv1.NetworkPolicyPort) []service {
	var all []service
	if port.Port != nil && port.Port.Type == intstr.Int {
		all = around(protocolOf(port), port.Port.IntVal)
	} else {
		all = around(protocolOf(port), 80)[:1]
	}
	if port.EndPort != nil {
		all = append(all, around(protocolOf(port), *port.EndPort)...)
	}
	return all
}

// addNamed adds what an item of the rule's list of ports may mean by its name at the destinations, on the wrong protocol
// too.
func (h hint) addNamed(port networkingv1.NetworkPolicyPort, destinations []*corev1.Pod) {
	if port.Port == nil || port.Port.Type != intstr.String {
		return
	}
	for _, p := range destinations {
		eachContainerPort(p, func(c corev1.ContainerPort) {
			if c.Name != port.Port.StrVal {
				return
			}
			exact, same := around(protocolOf(port), c.ContainerPort)[0], around(c.Protocol, c.ContainerPort)[0]
			for _, addr := range podAddrs(p) {
				h.named[addr] = append(h.named[addr], exact, exact, same)
			}
		})
	}
}

// protocolOf returns the protocol of an item as the API defaults it.
func protocolOf(port networkingv1.NetworkPolicyPort) corev1.Protocol {
	if port.Protocol == nil {
		return corev1.ProtocolTCP
	}
	return *port.Protocol
}

// around returns the port, twice, and its neighbours. Of a number that is not a port it takes the low 16 bits, as a
// mistaken conversion would.
func around(name corev1.Protocol, number int32) []service {
	protocol := oracle.TCP
	switch name {
	case corev1.ProtocolUDP:
		protocol = oracle.UDP
	case corev1.ProtocolSCTP:
		protocol = oracle.SCTP
	}
	port := uint16(number & 0xffff)
	return []service{{protocol, port}, {protocol, port}, {protocol, port - 1}, {protocol, port + 1}}
}

// eachContainerPort visits the ports of all containers of a pod.
func eachContainerPort(p *corev1.Pod, visit func(corev1.ContainerPort)) {
	for _, c := range append(slices.Clone(p.Spec.Containers), p.Spec.InitContainers...) {
		for _, port := range c.Ports {
			visit(port)
		}
	}
}

// addrsOf returns the addresses that the pods may mean, whether they take part or not.
func addrsOf(pods []*corev1.Pod) []netip.Addr {
	var addrs []netip.Addr
	for _, p := range pods {
		addrs = append(addrs, podAddrs(p)...)
	}
	return addrs
}

// podAddrs returns the addresses that a pod may mean, whether it takes part or not.
func podAddrs(p *corev1.Pod) []netip.Addr {
	var addrs []netip.Addr
	for _, ip := range append([]corev1.PodIP{{IP: p.Status.PodIP}}, p.Status.PodIPs...) {
		addr, err := netip.ParseAddr(ip.IP)
		if addr = addr.Unmap().WithZone(""); err == nil && !slices.Contains(addrs, addr) {
			addrs = append(addrs, addr)
		}
	}
	return addrs
}
