package compiler

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
)

const maxPort = 65535

// port reads one port entry into out.
func (ps *parser) port(field string, d program.Direction, p *networkingv1.NetworkPolicyPort, out *program.Ports) []setRef {
	// "If not specified, this field defaults to TCP."
	name := corev1.ProtocolTCP
	if p.Protocol != nil {
		name = *p.Protocol
	}
	proto, ok := protocolNumber(name)
	if !ok {
		ps.diagnose(field+".protocol", "unknown protocol %q (known are TCP, UDP and SCTP); the entry matches nothing", name)
		return nil
	}
	switch {
	case p.Port == nil && p.EndPort != nil:
		ps.diagnose(field+".endPort", "endPort without port; the entry matches nothing")
	case p.Port == nil:
		// "If this field is not provided, this matches all port names and numbers."
		out.List = append(out.List, program.Port{Protocol: proto, First: 0, Last: maxPort})
	case p.Port.Type == intstr.String:
		return ps.namedPort(field, d, proto, p, out)
	case p.Port.Type == intstr.Int:
		ps.numericPort(field, proto, p, out)
	default:
		ps.diagnose(field+".port", "neither a number nor a name; the entry matches nothing")
	}
	return nil
}

// numericPort: "endPort indicates that the range of ports from port to endPort if set, inclusive, should be
// allowed by the policy ... The endPort must be equal or greater than port."
func (ps *parser) numericPort(field string, proto uint8, p *networkingv1.NetworkPolicyPort, out *program.Ports) {
	first := p.Port.IntVal
	if first < 1 || first > maxPort {
		ps.diagnose(field+".port", "%d is not a port number (1 to 65535); the entry matches nothing", first)
		return
	}
	last := first
	if p.EndPort != nil {
		last = *p.EndPort
	}
	if last < first || last > maxPort {
		ps.diagnose(field+".endPort", "%d is not a port number from %d to 65535; the entry matches nothing", last, first)
		return
	}
	out.List = append(out.List, program.Port{Protocol: proto, First: uint16(first), Last: uint16(last)})
}

// namedPort: the name is looked up on the destination pod, with the same protocol. "This field [endPort]
// cannot be defined if the port field is defined as a named (string) port."
func (ps *parser) namedPort(field string, d program.Direction, proto uint8, p *networkingv1.NetworkPolicyPort, out *program.Ports) []setRef {
	if p.EndPort != nil {
		ps.diagnose(field+".endPort", "endPort with a named port; the entry matches nothing")
		return nil
	}
	if errs := validation.IsValidPortName(p.Port.StrVal); len(errs) > 0 {
		ps.diagnose(field+".port", "%q is not a port name: %s; the entry matches nothing", p.Port.StrVal, errs[0])
		return nil
	}
	ref := namedSetRef(namedPort{proto, p.Port.StrVal}, d)
	out.List = append(out.List, program.Port{Protocol: proto, Named: ref.id})
	return []setRef{ref}
}
