package sync

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"github.com/netpol-agent/netpol-agent/internal/compiler"
	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
)

// PolicyStatus says what this node does with one NetworkPolicy.
type PolicyStatus struct {
	Name string `json:"name"`
	// State is "enforced", "partly_understood" or "not_selecting".
	State string `json:"state"`
	// Diagnostics say what is not understood, each with the field.
	Diagnostics []string `json:"diagnostics,omitempty"`
}

// PodStatus says how one pod of this node is judged.
type PodStatus struct {
	Name      string       `json:"name"`
	Addresses []netip.Addr `json:"addresses"`
	// Isolation is "none", "ingress", "egress" or "both".
	Isolation string `json:"isolation"`
	// Ingress and Egress name the policies that isolate the pod in that direction.
	Ingress []string `json:"ingressPolicies,omitempty"`
	Egress  []string `json:"egressPolicies,omitempty"`
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// policyStatuses gives the state of each known policy, sorted by name.
func policyStatuses(known []types.NamespacedName, p *program.Program, diags []compiler.Diagnostic) []PolicyStatus {
	texts := map[string][]string{}
	for _, d := range diags {
		text := d.Message
		if d.Field != "" {
			text = d.Field + ": " + d.Message
		}
		name := policyName(d).String()
		texts[name] = append(texts[name], text)
	}
	out := make([]PolicyStatus, 0, len(known))
	for _, name := range known {
		s := PolicyStatus{Name: name.String(), State: stateIdle, Diagnostics: texts[name.String()]}
		switch {
		case len(s.Diagnostics) > 0:
			s.State = statePartly
		case p.Policies[program.PolicyRef{Namespace: name.Namespace, Name: name.Name}] != nil:
			s.State = stateEnforced
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b PolicyStatus) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// podStatuses gives how each pod of this node is judged, sorted by name. Where several pods report one
// address, each is shown with all that isolates the address.
func podStatuses(p *program.Program) []PodStatus {
	byName := map[string]*PodStatus{}
	isolated := map[string]directions{}
	for addr, local := range p.Locals {
		for _, name := range local.Pods {
			s := byName[name]
			if s == nil {
				s = &PodStatus{Name: name}
				byName[name] = s
			}
			s.Addresses = append(s.Addresses, addr)
			s.Ingress = append(s.Ingress, policiesOf(p, local.Ingress)...)
			s.Egress = append(s.Egress, policiesOf(p, local.Egress)...)
			isolated[name] = isolated[name].add(local)
		}
	}
	out := make([]PodStatus, 0, len(byName))
	for _, name := range sortedKeys(byName) {
		s := byName[name]
		slices.SortFunc(s.Addresses, netip.Addr.Compare)
		s.Ingress, s.Egress = unique(s.Ingress), unique(s.Egress)
		s.Isolation = isolated[name].String()
		out = append(out, *s)
	}
	return out
}

func policiesOf(p *program.Program, stacks []program.StackID) []string {
	var out []string
	for _, id := range stacks {
		for _, tier := range p.TiersOf(id) {
			for _, policy := range tier.Policies {
				out = append(out, policy.String())
			}
		}
	}
	return out
}

func unique(s []string) []string {
	slices.Sort(s)
	return slices.Compact(s)
}

// directions says in which directions a pod is isolated.
type directions struct{ in, out bool }

func (d directions) add(l *program.Local) directions {
	return directions{in: d.in || len(l.Ingress) > 0, out: d.out || len(l.Egress) > 0}
}

// String gives the label value and status text.
func (d directions) String() string {
	switch {
	case d.in && d.out:
		return isolationBoth
	case d.in:
		return isolationIn
	case d.out:
		return isolationOut
	default:
		return isolationNone
	}
}

// isolationCounts counts the pods of this node by isolation.
func isolationCounts(p *program.Program) map[string]int {
	pods := map[string]directions{}
	for _, local := range p.Locals {
		for _, name := range local.Pods {
			pods[name] = pods[name].add(local)
		}
	}
	out := map[string]int{isolationNone: 0, isolationIn: 0, isolationOut: 0, isolationBoth: 0}
	for _, d := range pods {
		out[d.String()]++
	}
	return out
}
