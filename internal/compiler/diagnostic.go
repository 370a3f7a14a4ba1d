package compiler

import (
	"cmp"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"github.com/netpol-agent/netpol-agent/internal/selector"
)

// Diagnostic tells of one part of a policy that was not understood, and what follows from that.
type Diagnostic struct {
	Namespace, Policy string
	// Field is the path of the part, as in "spec.ingress[0].from[1].ipBlock.cidr".
	Field string
	// Message says what is wrong and what the part means now.
	Message string
}

// String gives one line with object, field and message.
func (d Diagnostic) String() string {
	return fmt.Sprintf("NetworkPolicy %s/%s: %s: %s", d.Namespace, d.Policy, d.Field, d.Message)
}

// Diagnostics gives every diagnostic, by policy and then in the order of the object's fields.
func (c *Compiler) Diagnostics() []Diagnostic {
	var out []Diagnostic
	for _, p := range c.policies {
		out = append(out, p.diagnostics...)
	}
	slices.SortStableFunc(out, func(a, b Diagnostic) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Policy, b.Policy))
	})
	return out
}

// DiagnosticsOf gives the diagnostics of one policy, in the order of its fields.
func (c *Compiler) DiagnosticsOf(name types.NamespacedName) []Diagnostic {
	if p := c.policies[selector.PodKey(name)]; p != nil {
		return slices.Clone(p.diagnostics)
	}
	return nil
}

// PolicyState is where one policy object stands.
type PolicyState struct {
	Namespace, Name string
	// Selects counts the pods of this node that the policy selects.
	Selects int
	// Diagnostics counts the parts that were not understood.
	Diagnostics int
}

// PolicyStates gives the state of every policy object, sorted by name.
func (c *Compiler) PolicyStates() []PolicyState {
	out := make([]PolicyState, 0, len(c.policies))
	for _, p := range c.policies {
		out = append(out, PolicyState{
			Namespace: p.key.Namespace, Name: p.key.Name, Selects: len(p.pods), Diagnostics: len(p.diagnostics),
		})
	}
	slices.SortFunc(out, func(a, b PolicyState) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return out
}
