package property

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
)

// programText writes a program in a stable order.
func programText(p *program.Program) string {
	out := ""
	for a, l := range p.Locals {
		out += fmt.Sprintf("\nlocal %s: %+v", a, *l)
	}
	for _, id := range slices.Sorted(maps.Keys(p.Stacks)) {
		out += fmt.Sprintf("\nstack %s: %+v", id, *p.Stacks[id])
	}
	for _, id := range slices.Sorted(maps.Keys(p.Tiers)) {
		out += fmt.Sprintf("\ntier %s: %+v", id, *p.Tiers[id])
	}
	for _, id := range slices.SortedFunc(maps.Keys(p.Policies), program.PolicyRef.Compare) {
		raw, err := json.Marshal(p.Policies[id])
		out += fmt.Sprintf("\npolicy %s: %s %v", id, raw, err)
	}
	for _, id := range slices.Sorted(maps.Keys(p.Sets)) {
		out += fmt.Sprintf("\nset %s: %v", id, p.Sets[id].Members)
	}
	return out
}
