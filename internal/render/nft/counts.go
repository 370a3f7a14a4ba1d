package nft

import (
	"github.com/netpol-agent/netpol-agent/internal/render"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/ruleset"
)

// Counts returns how many objects the ruleset has by family: "ipv4" and "ipv6" for what concerns one family alone,
// "inet" for what concerns both.
func (r *Renderer) Counts() map[string]render.Counts {
	var inet, ipv4, ipv6 render.Counts
	of := map[ruleset.Family]*render.Counts{0: &inet, ruleset.V4: &ipv4, ruleset.V6: &ipv6}
	rs := r.layout.Ruleset()
	for _, c := range rs.Chains {
		inet.Chains++
		for _, rule := range c.Rules {
			of[familyOf(rule)].Rules++
		}
	}
	for _, s := range rs.Sets {
		counts := of[s.Type.Family()]
		counts.Sets++
		counts.Elements += len(s.Elems)
	}
	return map[string]render.Counts{"inet": inet, "ipv4": ipv4, "ipv6": ipv6}
}

// familyOf returns the family of the first match that requires one, or 0.
func familyOf(r ruleset.Rule) ruleset.Family {
	for _, m := range r.Matches {
		if f := ruleset.FactsOf(m); f.HasFamily {
			return f.Family
		}
	}
	return 0
}
