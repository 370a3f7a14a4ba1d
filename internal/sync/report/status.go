package report

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/netpol-agent/netpol-agent/internal/compiler"
	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/render"
)

// State is what the engine knows at one moment. It is valid in the engine's goroutine only.
type State struct {
	// Policies are the known ones.
	Policies    []types.NamespacedName
	Program     *program.Program
	Diagnostics []compiler.Diagnostic
	// Objects counts the known objects by resource.
	Objects map[string]int
	// Installed counts what is in the kernel, by address family, and Table says where.
	Installed map[string]render.Counts
	Table     string
	// Pending is the number of changes that the kernel may lack.
	Pending int
}

// Status is what a running agent tells about itself.
type Status struct {
	Version string `json:"version"`
	Node    string `json:"node"`
	// Backend is the name of the renderer in use, BackendReason why it was chosen.
	Backend       string `json:"backend"`
	BackendReason string `json:"backendReason,omitempty"`
	// Table is where the kernel holds the rules.
	Table string `json:"table"`

	Started  time.Time `json:"started"`
	Ready    bool      `json:"ready"`
	NotReady []string  `json:"notReady,omitempty"`
	// LastSync is when kernel and program were last known to be equal.
	LastSync time.Time `json:"lastSync,omitzero"`
	// Pending is the number of changes that the kernel may lack.
	Pending int `json:"pending"`
	// Installed counts what is in the kernel, by address family.
	Installed map[string]render.Counts `json:"installed"`
	// Leftovers names what other backends have left and why it could not be removed yet.
	Leftovers []string `json:"leftovers,omitempty"`
	// Objects counts the objects of the cluster that the agent knows, by resource.
	Objects map[string]int `json:"objects"`

	Policies []PolicyStatus `json:"policies"`
	Pods     []PodStatus    `json:"pods"`
}

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

// Fill sets what the engine knows.
func (s *Status) Fill(st State) {
	s.Table, s.Pending, s.Installed, s.Objects = st.Table, st.Pending, st.Installed, st.Objects
	s.Policies, s.Pods = policyStatuses(st), podStatuses(st.Program)
}

// String returns "ready", or why the agent is not.
func (s *Status) String() string {
	if s.Ready {
		return "ready"
	}
	return "not ready: " + strings.Join(s.NotReady, "; ")
}

// textOf returns a diagnostic's field and message.
func textOf(d compiler.Diagnostic) string { return strings.TrimPrefix(d.Field+": "+d.Message, ": ") }

// policyStatuses returns the status of each known policy, sorted by name.
func policyStatuses(st State) []PolicyStatus {
	texts := map[program.PolicyRef][]string{}
	for _, d := range st.Diagnostics {
		texts[d.Policy] = append(texts[d.Policy], textOf(d))
	}
	out := make([]PolicyStatus, 0, len(st.Policies))
	for _, name := range st.Policies {
		ref := program.PolicyRef{Namespace: name.Namespace, Name: name.Name}
		s := PolicyStatus{Name: ref.String(), State: stateIdle, Diagnostics: texts[ref]}
		switch {
		case len(s.Diagnostics) > 0:
			s.State = statePartly
		case st.Program.Policies[ref] != nil:
			s.State = stateEnforced
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b PolicyStatus) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// podStatuses returns how each pod of this node is judged, sorted by name. If several pods report one address, each is
// shown with everything that isolates the address.
func podStatuses(p *program.Program) []PodStatus {
	byName := map[string]*PodStatus{}
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
		}
	}
	isolated := isolations(p)
	out := make([]PodStatus, 0, len(byName))
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		s := byName[name]
		slices.SortFunc(s.Addresses, netip.Addr.Compare)
		s.Ingress, s.Egress = unique(s.Ingress), unique(s.Egress)
		s.Isolation = isolationNames()[isolated[name]]
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

// isolation is a set of directions in which a pod is isolated, with one bit for each.
type isolation uint8

// isolationNames returns the label values and status texts, by isolation.
func isolationNames() []string { return []string{"none", "ingress", "egress", "both"} }

// isolations returns the isolation of each pod of this node, by the pod's name.
func isolations(p *program.Program) map[string]isolation {
	out := map[string]isolation{}
	for _, local := range p.Locals {
		var i isolation
		for _, d := range program.Directions() {
			if len(local.Stacks(d)) > 0 {
				i |= 1 << d
			}
		}
		for _, name := range local.Pods {
			out[name] |= i
		}
	}
	return out
}

// isolationCounts counts the pods of this node by isolation.
func isolationCounts(p *program.Program) map[string]int {
	names, out := isolationNames(), map[string]int{}
	for _, name := range names {
		out[name] = 0
	}
	for _, i := range isolations(p) {
		out[names[i]]++
	}
	return out
}
