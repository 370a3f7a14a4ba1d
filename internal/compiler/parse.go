package compiler

import (
	"fmt"
	"reflect"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/selector"
)

// parsed is one reading of a policy object. It depends on that object alone.
type parsed struct {
	// subject is the query for the pods that the policy selects.
	subject selector.Query
	// isolates holds, by program.Direction, whether the policy isolates those pods in that direction.
	isolates [2]bool
	rules    program.Policy
	// refs are the sets that rules use, each once.
	refs        []setRef
	diagnostics []Diagnostic
}

func (p *parsed) equal(o *parsed) bool {
	return p.subject.ID() == o.subject.ID() && p.isolates == o.isolates &&
		reflect.DeepEqual(p.rules, o.rules) && reflect.DeepEqual(p.diagnostics, o.diagnostics)
}

// parser reads one policy.
type parser struct {
	np   *networkingv1.NetworkPolicy
	out  *parsed
	seen map[program.SetID]struct{}
}

// parsePolicy reads a policy. It never fails: a part that cannot be understood becomes a diagnostic and narrows access.
func parsePolicy(np *networkingv1.NetworkPolicy) *parsed {
	ps := &parser{np: np, out: &parsed{}, seen: map[program.SetID]struct{}{}}
	ps.subject()
	ps.types()
	if ps.out.isolates[program.Ingress] {
		for i, r := range np.Spec.Ingress {
			ps.rule(program.Ingress, i, r.From, r.Ports)
		}
	}
	if ps.out.isolates[program.Egress] {
		for i, r := range np.Spec.Egress {
			ps.rule(program.Egress, i, r.To, r.Ports)
		}
	}
	return ps.out
}

func (ps *parser) diagnose(field, format string, args ...any) {
	ps.out.diagnostics = append(ps.out.diagnostics, Diagnostic{
		Policy: program.PolicyRef{Namespace: ps.np.Namespace, Name: ps.np.Name}, Field: field, Message: fmt.Sprintf(format, args...),
	})
}

// subject: "podSelector selects the pods to which this NetworkPolicy object applies ... An empty selector
// matches all pods in the policy's namespace." A selector that cannot be parsed could mean any pod of the namespace.
func (ps *parser) subject() {
	sel, err := selector.Parse(&ps.np.Spec.PodSelector)
	if err != nil {
		ps.diagnose("spec.podSelector", "%v; the policy isolates every pod of namespace %s", err, ps.np.Namespace)
		sel = selector.Everything()
	}
	ps.out.subject = selector.Query{Namespace: ps.np.Namespace, Pods: sel}
}

func (ps *parser) types() {
	ps.out.isolates = isolates(&ps.np.Spec)
	for i, t := range ps.np.Spec.PolicyTypes {
		if t != networkingv1.PolicyTypeIngress && t != networkingv1.PolicyTypeEgress {
			ps.diagnose(fmt.Sprintf("spec.policyTypes[%d]", i),
				"unknown policy type %q (known are Ingress and Egress); the policy isolates both directions", t)
		}
	}
}

// isolates reports, by direction, whether a policy isolates: "If this field is not specified, it will default based on
// the existence of ingress or egress rules; policies that contain an egress section are assumed to affect egress, and
// all policies (whether or not they contain an ingress section) are assumed to affect ingress." A type that we do not
// know could mean either direction.
func isolates(spec *networkingv1.NetworkPolicySpec) (out [2]bool) {
	if len(spec.PolicyTypes) == 0 {
		return [2]bool{program.Ingress: true, program.Egress: len(spec.Egress) > 0}
	}
	for _, t := range spec.PolicyTypes {
		switch t {
		case networkingv1.PolicyTypeIngress:
			out[program.Ingress] = true
		case networkingv1.PolicyTypeEgress:
			out[program.Egress] = true
		default:
			return [2]bool{true, true}
		}
	}
	return out
}

func (ps *parser) rule(d program.Direction, i int, peers []networkingv1.NetworkPolicyPeer, ports []networkingv1.NetworkPolicyPort) {
	side := [2]string{program.Ingress: "from", program.Egress: "to"}[d]
	field := fmt.Sprintf("spec.%s[%d]", d, i)
	r := program.Rule{Verdict: program.Accept, Index: i}
	// "If this field is empty or missing, this rule matches all sources (traffic not restricted by source)."
	if len(peers) == 0 {
		r.Peers.Any = true
	}
	var refs []setRef
	for j := range peers {
		refs = append(refs, ps.peer(fmt.Sprintf("%s.%s[%d]", field, side, j), &peers[j], &r.Peers)...)
	}
	// "If this field is empty or missing, this rule matches all ports (traffic not restricted by port)."
	if len(ports) == 0 {
		r.Ports.Any = true
	}
	for j := range ports {
		refs = append(refs, ps.port(fmt.Sprintf("%s.ports[%d]", field, j), d, &ports[j], &r.Ports)...)
	}
	if matchesNothing(&r) {
		return
	}
	r.Peers.Sets, r.Ports.List = eachOnce(r.Peers.Sets), eachOnce(r.Ports.List)
	for _, ref := range refs {
		if _, dup := ps.seen[ref.id]; !dup {
			ps.seen[ref.id] = struct{}{}
			ps.out.refs = append(ps.out.refs, ref)
		}
	}
	if d == program.Ingress {
		ps.out.rules.Ingress = append(ps.out.rules.Ingress, r)
	} else {
		ps.out.rules.Egress = append(ps.out.rules.Egress, r)
	}
}

// eachOnce removes duplicates and keeps the order. One object has room for 100,000 ports, too many to compare
// every pair.
func eachOnce[T comparable](list []T) []T {
	seen := make(map[T]struct{}, len(list))
	return slices.DeleteFunc(list, func(v T) bool {
		_, dup := seen[v]
		seen[v] = struct{}{}
		return dup
	})
}

// matchesNothing reports whether none of a rule's peers or none of its ports were understood.
func matchesNothing(r *program.Rule) bool {
	noPeer := !r.Peers.Any && len(r.Peers.Sets) == 0 && len(r.Peers.Blocks) == 0
	noPort := !r.Ports.Any && len(r.Ports.List) == 0
	return noPeer || noPort
}
