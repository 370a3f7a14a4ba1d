package oracle

import (
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// anyPortMatches reports whether the packet matches a rule's list of ports.
//
// API: "Each item in this list is combined using a logical OR. If this field is empty or missing, this rule matches all
// ports (traffic not restricted by port). If this field is present and contains at least one item, then this rule allows
// traffic only if the traffic matches at least one port in the list."
func (s State) anyPortMatches(ports []networkingv1.NetworkPolicyPort, p Packet) bool {
	// Ours: "traffic not restricted by port" includes protocols that have no ports.
	if len(ports) == 0 {
		return true
	}
	for _, port := range ports {
		if s.portMatches(port, p) {
			return true
		}
	}
	return false
}

// portMatches reports whether the packet matches one item of a rule's list of ports.
func (s State) portMatches(port networkingv1.NetworkPolicyPort, p Packet) bool {
	// API: "protocol represents the protocol (TCP, UDP, or SCTP) which traffic must match. If not specified, this field
	// defaults to TCP."
	protocol := corev1.ProtocolTCP
	if port.Protocol != nil {
		protocol = *port.Protocol
	}
	// API: "If present, only traffic on the specified protocol AND port will be matched."
	if number, known := protocolNumber(protocol); !known || number != p.Protocol {
		return false
	}
	if port.Port == nil {
		// API: "If this field is not provided, this matches all port names and numbers." And endPort "cannot be defined
		// if the port field is not defined". Ours: then the item matches nothing.
		return port.EndPort == nil
	}
	switch port.Port.Type {
	case intstr.Int:
		return numberMatches(port, p.DstPort)
	case intstr.String:
		// API: endPort cannot be defined "if the port field is defined as a named (string) port".
		return port.EndPort == nil && s.hasNamedPort(p.Dst, port.Port.StrVal, protocol, p.DstPort)
	default:
		return false
	}
}

// numberMatches reports whether the port number lies in the item's range.
//
// API: "the range of ports from port to endPort if set, inclusive, should be allowed by the policy [...] The endPort must
// be equal or greater than port." Ours: a range that breaks a rule matches nothing.
func numberMatches(port networkingv1.NetworkPolicyPort, have uint16) bool {
	first := port.Port.IntVal
	last := first
	if port.EndPort != nil {
		last = *port.EndPort
	}
	if first < 1 || last < first || last > 65535 {
		return false
	}
	return first <= int32(have) && int32(have) <= last
}

// hasNamedPort reports whether number is what name means at the destination, for both directions of a rule.
//
// API: port "can either be a numerical or named port on a pod". An address outside the cluster has no names.
func (s State) hasNamedPort(dst netip.Addr, name string, protocol corev1.Protocol, number uint16) bool {
	pods := s.podsAt(dst)
	if len(pods) == 0 || !isPortName(name) {
		return false
	}
	// Ours: when several pods report one address, a name means a number there only if it does on all of them.
	for _, pod := range pods {
		if namedPort(pod, name, protocol) != int32(number) {
			return false
		}
	}
	return number != 0
}

// namedPort returns the pod's port number for the name and the protocol, or -1 if it has none.
//
// Ours: the first one counts, in the order of the regular containers and then of the sidecars, which are the init
// containers that keep running.
func namedPort(pod *corev1.Pod, name string, protocol corev1.Protocol) int32 {
	containers := append([]corev1.Container(nil), pod.Spec.Containers...)
	for _, c := range pod.Spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			containers = append(containers, c)
		}
	}
	for _, c := range containers {
		for _, port := range c.Ports {
			have := port.Protocol
			// API (ContainerPort): "Protocol for port. Must be UDP, TCP, or SCTP. Defaults to "TCP"."
			if have == "" {
				have = corev1.ProtocolTCP
			}
			if port.Name == name && have == protocol {
				return port.ContainerPort
			}
		}
	}
	return -1
}

// protocolNumber returns the IP protocol number of a protocol that NetworkPolicy knows.
func protocolNumber(protocol corev1.Protocol) (number uint8, known bool) {
	switch protocol {
	case corev1.ProtocolTCP:
		return TCP, true
	case corev1.ProtocolUDP:
		return UDP, true
	case corev1.ProtocolSCTP:
		return SCTP, true
	default:
		return 0, false
	}
}

// isPortName reports whether a name is an IANA_SVC_NAME, the only kind that a container port can have.
//
// API (ContainerPort.name): "this must be an IANA_SVC_NAME and unique within the pod": at most 15 characters a-z, 0-9 and
// "-", at least one of them a letter, no "-" at either end and no two in a row (RFC 6335, section 5.1).
func isPortName(name string) bool {
	if len(name) < 1 || len(name) > 15 {
		return false
	}
	if strings.HasPrefix(name, "-") || strings.HasSuffix(name, "-") || strings.Contains(name, "--") {
		return false
	}
	letter := false
	for _, c := range name {
		switch {
		case 'a' <= c && c <= 'z':
			letter = true
		case '0' <= c && c <= '9', c == '-':
		default:
			return false
		}
	}
	return letter
}
