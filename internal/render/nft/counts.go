package nft

import (
	"github.com/netpol-agent/netpol-agent/internal/render"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/ruleset"
)

// Counts says how many objects the ruleset has, by family: "ipv4" and "ipv6" for what concerns one family
// alone, "inet" for what concerns both.
func (r *Renderer) Counts() map[string]render.Counts { return Count(r.layout.Ruleset()) }

// Count counts a ruleset's objects by family, as Renderer.Counts does.
func Count(rs *ruleset.Ruleset) map[string]render.Counts {
	var by [3]render.Counts // by familyIndex
	for _, c := range rs.Chains {
		by[inet].Chains++
		for _, rule := range c.Rules {
			by[ruleFamily(rule)].Rules++
		}
	}
	for _, s := range rs.Sets {
		f := setFamily(s.Type)
		by[f].Sets++
		by[f].Elements += len(s.Elems)
	}
	return map[string]render.Counts{"inet": by[inet], "ipv4": by[ipv4], "ipv6": by[ipv6]}
}

const (
	inet = iota
	ipv4
	ipv6
)

func setFamily(t ruleset.SetType) int {
	switch t {
	case ruleset.Addr4, ruleset.Addr4Port, ruleset.Addr4Pair:
		return ipv4
	case ruleset.Addr6, ruleset.Addr6Port, ruleset.Addr6Pair:
		return ipv6
	default:
		return inet
	}
}

// ruleFamily gives the family of the first match that asks for one.
func ruleFamily(r ruleset.Rule) int {
	for _, m := range r.Matches {
		switch m := m.(type) {
		case ruleset.IsFamily:
			return index(m.Family)
		case ruleset.InSet:
			return index(m.Family)
		case ruleset.DstAddrPortInSet:
			return index(m.Family)
		case ruleset.AddrPairInSet:
			return index(m.Family)
		case ruleset.AddrVerdict:
			return index(m.Family)
		case ruleset.InPrefix:
			return index(ruleset.FamilyOf(m.Prefix.Addr()))
		case ruleset.ICMPv6Types:
			return ipv6
		}
	}
	return inet
}

func index(f ruleset.Family) int {
	if f == ruleset.V4 {
		return ipv4
	}
	return ipv6
}
