// Package compare copies nftables rulesets, for tests, and describes how two of them differ.
package compare

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/netpol-agent/netpol-agent/internal/render/nft/ruleset"
)

// Clone returns a copy that shares no chain, set, slice of rules or map of elements with r. Rules share matches, which
// are never modified.
func Clone(r *ruleset.Ruleset) *ruleset.Ruleset {
	c := ruleset.New()
	for name, chain := range r.Chains {
		c.Chains[name] = chain.WithoutRules()
		c.Chains[name].Rules = slices.Clone(chain.Rules)
	}
	for name, set := range r.Sets {
		c.Sets[name] = set.WithoutElems()
		maps.Copy(c.Sets[name].Elems, set.Elems)
	}
	return c
}

// Equal reports whether two rulesets are the same to packets and to people who read their rules. The comments of chains
// and sets do not count: the kernel cannot change them on an existing object, and change.Diff does not replace an
// object because of its comment. The comments of rules do.
func Equal(a, b *ruleset.Ruleset) bool {
	return maps.EqualFunc(a.Sets, b.Sets, func(x, y *ruleset.Set) bool {
		return x.SameKind(y) && maps.Equal(x.Elems, y.Elems)
	}) && maps.EqualFunc(a.Chains, b.Chains, func(x, y *ruleset.Chain) bool {
		return x.Hook.Equal(y.Hook) && x.SameRules(y)
	})
}

// Difference describes for a person what makes two rulesets unequal, one line each: "-" before what only a has, "+" before
// what only b has. It is empty if and only if they are Equal.
func Difference(a, b *ruleset.Ruleset) string {
	var text strings.Builder
	for _, name := range EitherHas(a.Sets, b.Sets) {
		writeSets(&text, name, a.Sets[name], b.Sets[name])
	}
	for _, name := range EitherHas(a.Chains, b.Chains) {
		writeChains(&text, name, a.Chains[name], b.Chains[name])
	}
	return text.String()
}

// EitherHas returns the keys that at least one of two maps has, in order.
func EitherHas[V any](a, b map[string]V) []string {
	all := map[string]V{}
	maps.Copy(all, a)
	maps.Copy(all, b)
	return slices.Sorted(maps.Keys(all))
}

func writeSets(b *strings.Builder, name string, was, is *ruleset.Set) {
	if was == nil || is == nil || !was.SameKind(is) {
		for _, side := range []struct {
			sign string
			set  *ruleset.Set
		}{{"-", was}, {"+", is}} {
			if side.set != nil {
				s := side.set
				fmt.Fprintf(b, "%s set %s (%s, interval %t, verdicts %t, %d elements)\n",
					side.sign, name, s.Type, s.Interval, s.Verdicts, len(s.Elems))
			}
		}
		return
	}
	for _, e := range was.Sorted() {
		if v, ok := is.Elems[e.Elem]; !ok || v != e.Verdict {
			fmt.Fprintf(b, "- set %s: %s\n", name, was.ElemText(e))
		}
	}
	for _, e := range is.Sorted() {
		if v, ok := was.Elems[e.Elem]; !ok || v != e.Verdict {
			fmt.Fprintf(b, "+ set %s: %s\n", name, is.ElemText(e))
		}
	}
}

func writeChains(b *strings.Builder, name string, was, is *ruleset.Chain) {
	if was != nil && is != nil && was.Hook.Equal(is.Hook) {
		for i := range max(len(was.Rules), len(is.Rules)) {
			if i < len(was.Rules) && i < len(is.Rules) && was.Rules[i].Equal(is.Rules[i]) {
				continue
			}
			if i < len(was.Rules) {
				fmt.Fprintf(b, "- chain %s rule %d: %s\n", name, i, was.Rules[i])
			}
			if i < len(is.Rules) {
				fmt.Fprintf(b, "+ chain %s rule %d: %s\n", name, i, is.Rules[i])
			}
		}
		return
	}
	if was != nil {
		fmt.Fprintf(b, "- chain %s%s (%d rules)\n", name, hookText(was.Hook), len(was.Rules))
	}
	if is != nil {
		fmt.Fprintf(b, "+ chain %s%s (%d rules)\n", name, hookText(is.Hook), len(is.Rules))
	}
}

func hookText(h *ruleset.Hook) string {
	if h == nil {
		return ""
	}
	return fmt.Sprintf(" hook %s priority %d", h.Point, h.Priority)
}
