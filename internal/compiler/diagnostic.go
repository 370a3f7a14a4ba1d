package compiler

import (
	"fmt"
	"slices"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
)

// Diagnostic describes one part of a policy that was not understood, and what follows from that.
type Diagnostic struct {
	Policy program.PolicyRef
	// Field is the path of the part, as in "spec.ingress[0].from[1].ipBlock.cidr".
	Field string
	// Message says what is wrong and what the part means now.
	Message string
}

// String returns one line with the object, the field and the message.
func (d Diagnostic) String() string {
	return fmt.Sprintf("%s %s: %s: %s", d.Policy.Kind, d.Policy, d.Field, d.Message)
}

// Diagnostics returns every diagnostic, by policy and then in the order of the object's fields.
func (c *Compiler) Diagnostics() []Diagnostic {
	var out []Diagnostic
	for _, p := range c.policies {
		out = append(out, p.diagnostics...)
	}
	slices.SortStableFunc(out, func(a, b Diagnostic) int { return a.Policy.Compare(b.Policy) })
	return out
}
