package ruleset

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Clone gives a copy that shares nothing that this package changes. Matches are values that nobody changes, so
// rules share them.
func (r *Ruleset) Clone() *Ruleset {
	c := &Ruleset{
		Chains: make(map[string]*Chain, len(r.Chains)),
		Sets:   make(map[string]*Set, len(r.Sets)),
	}
	for name, chain := range r.Chains {
		c.Chains[name] = chain.clone()
	}
	for name, set := range r.Sets {
		c.Sets[name] = set.clone()
	}
	return c
}

func (c *Chain) clone() *Chain {
	d := c.cloneEmpty()
	d.Rules = slices.Clone(c.Rules)
	return d
}

func (c *Chain) cloneEmpty() *Chain {
	d := *c
	d.Rules = nil
	if c.Hook != nil {
		hook := *c.Hook
		d.Hook = &hook
	}
	return &d
}

func (s *Set) clone() *Set {
	d := *s
	d.Elems = maps.Clone(s.Elems)
	if d.Elems == nil {
		d.Elems = map[Elem]Verdict{}
	}
	return &d
}

func (s *Set) cloneEmpty() *Set {
	d := *s
	d.Elems = map[Elem]Verdict{}
	return &d
}

// Equal says whether two rulesets are the same to packets and to people who read their rules. The comments of
// chains and sets do not count: the kernel cannot change them on an object that exists, and Diff does not
// replace an object for its comment. The comments of rules do.
func (r *Ruleset) Equal(o *Ruleset) bool {
	return maps.EqualFunc(r.Sets, o.Sets, func(a, b *Set) bool {
		return sameSetKind(a, b) && maps.Equal(a.Elems, b.Elems)
	}) && maps.EqualFunc(r.Chains, o.Chains, func(a, b *Chain) bool {
		return sameHook(a.Hook, b.Hook) && sameRules(a.Rules, b.Rules)
	})
}

func sameSetKind(a, b *Set) bool {
	return a.Name == b.Name && a.Type == b.Type && a.Interval == b.Interval && a.Verdicts == b.Verdicts
}

func sameHook(a, b *Hook) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

func sameRules(a, b []Rule) bool { return slices.EqualFunc(a, b, sameRule) }

func sameRule(a, b Rule) bool {
	return a.Verdict == b.Verdict && a.Comment == b.Comment && slices.Equal(a.Matches, b.Matches)
}

// Difference describes for a person what makes two rulesets unequal, a line each: "-" before what only r has,
// "+" before what only o has. It is empty if and only if they are Equal.
func (r *Ruleset) Difference(o *Ruleset) string {
	var b strings.Builder
	for _, name := range unionKeys(r.Sets, o.Sets) {
		writeSetDifference(&b, name, r.Sets[name], o.Sets[name])
	}
	for _, name := range unionKeys(r.Chains, o.Chains) {
		writeChainDifference(&b, name, r.Chains[name], o.Chains[name])
	}
	return b.String()
}

func unionKeys[V any](a, b map[string]V) []string {
	keys := sortedKeys(a)
	for k := range b {
		if _, both := a[k]; !both {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return keys
}

func writeSetDifference(b *strings.Builder, name string, was, is *Set) {
	if was == nil || is == nil || !sameSetKind(was, is) {
		for _, side := range []struct {
			sign string
			set  *Set
		}{{"-", was}, {"+", is}} {
			if side.set != nil {
				s := side.set
				fmt.Fprintf(b, "%s set %s (%s, interval %t, verdicts %t, %d elements)\n",
					side.sign, name, s.Type, s.Interval, s.Verdicts, len(s.Elems))
			}
		}
		return
	}
	for _, e := range was.sortedElems() {
		if v, ok := is.Elems[e.Elem]; !ok || v != e.Verdict {
			fmt.Fprintf(b, "- set %s: %s\n", name, was.elemText(e))
		}
	}
	for _, e := range is.sortedElems() {
		if v, ok := was.Elems[e.Elem]; !ok || v != e.Verdict {
			fmt.Fprintf(b, "+ set %s: %s\n", name, is.elemText(e))
		}
	}
}

func writeChainDifference(b *strings.Builder, name string, was, is *Chain) {
	if was != nil && is != nil && sameHook(was.Hook, is.Hook) {
		for i := range max(len(was.Rules), len(is.Rules)) {
			if i < len(was.Rules) && i < len(is.Rules) && sameRule(was.Rules[i], is.Rules[i]) {
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

func hookText(h *Hook) string {
	if h == nil {
		return ""
	}
	return fmt.Sprintf(" hook %s priority %d", h.Point, h.Priority)
}
