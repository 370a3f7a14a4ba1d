package change

import (
	"maps"
	"slices"

	"github.com/netpol-agent/netpol-agent/internal/render/nft/ruleset"
)

// Diff returns the two transactions that lead from the installed to the desired content of a table. The table exists.
// Both rulesets are consistent: they hold whatever their rules and elements refer to. Diff changes neither of them, but
// the transactions share sets, chains and rules with them.
//
// update holds everything that a packet could notice. Once it is committed, verdicts are those of desired. prune, which
// may be committed at any time after it, removes the chains and sets that nothing reaches any more. They are two
// transactions because kernels before 6.2 refuse to remove a map's element together with the chain that it leads to.
//
// With dirty, only what it names is compared, and it must name whatever prune is to remove. If update is committed and
// prune is not, the same names must be compared again. A nil dirty compares everything.
//
// Chains are replaced as a whole. Where somebody else left an object that cannot be changed in place (a set of another
// type, a base chain of another hook or of none), update removes it and makes it anew, together with every rule and
// element that refers to it. Chains and sets that desired does not have are removed by prune, base chains already by
// update. Diff can repair everything, with two exceptions, whose remedy is to make the table anew: a map of unknown type
// whose elements, which nobody can see, lead to a chain to be removed, on kernels before 6.5; and a chain that stands in
// the place of one of our base chains while a map leads to it, on kernels before 6.2.
func Diff(table string, installed, desired *ruleset.Ruleset, dirty *ruleset.Dirty) (update, prune *Tx) {
	d := &differ{
		table: table, have: installed, want: desired,
		cleared: map[string]bool{}, filled: map[string]bool{},
		remade: map[string]bool{}, resets: map[string]bool{},
		elems: map[string]*elemChange{},
	}
	if dirty == nil {
		d.compareSets(eitherHas(installed.Sets, desired.Sets), nil)
		d.compareChains(eitherHas(installed.Chains, desired.Chains))
	} else {
		d.compareSets(sorted(dirty.Sets), dirty.Sets)
		d.compareChains(sorted(dirty.Chains))
	}
	if len(d.remade)+len(d.resets) > 0 {
		d.releaseRemade()
	}
	return d.update(), d.prune()
}

// differ collects all differences before anything is written, because the kernel needs another order than the one in
// which differences are found.
type differ struct {
	table      string
	have, want *ruleset.Ruleset

	cleared map[string]bool        // installed chains whose rules update removes
	filled  map[string]bool        // desired chains whose rules update writes
	remade  map[string]bool        // chains whose hook differs: removed and made anew
	resets  map[string]bool        // sets whose kind differs: removed and made anew
	elems   map[string]*elemChange // by set

	newSets, oldSets     []string // without the resets
	newChains, oldChains []string // without the remade ones
}

// elemChange is what update does to the elements of one set. Elements of a set to be removed are removed one by one only
// if that releases a chain.
type elemChange struct{ del, add []ruleset.ElemVerdict }

func (d *differ) compareSets(names []string, only map[string]map[ruleset.Elem]struct{}) {
	for _, name := range names {
		have, want := d.have.Sets[name], d.want.Sets[name]
		switch {
		case have == nil && want == nil:
		case have == nil:
			d.newSets = append(d.newSets, name)
			d.elems[name] = &elemChange{add: want.Sorted()}
		case want == nil:
			d.oldSets = append(d.oldSets, name)
			d.elems[name] = &elemChange{del: d.holdingOldChains(have)}
		case !have.SameKind(want):
			d.resets[name] = true
			d.elems[name] = &elemChange{add: want.Sorted()}
		case only[name] != nil:
			d.elems[name] = compareElems(have, want, only[name])
		default:
			d.elems[name] = compareAllElems(have, want)
		}
	}
}

// holdingOldChains returns the elements of a set to be removed which lead to chains to be removed.
func (d *differ) holdingOldChains(s *ruleset.Set) []ruleset.ElemVerdict {
	var holding []ruleset.ElemVerdict
	for e, v := range s.Elems {
		if v.Chain != "" && d.want.Chains[v.Chain] == nil {
			holding = append(holding, ruleset.ElemVerdict{Elem: e, Verdict: v})
		}
	}
	slices.SortFunc(holding, ruleset.ElemVerdict.Compare)
	return holding
}

func compareAllElems(have, want *ruleset.Set) *elemChange {
	c := &elemChange{}
	for e := range have.Elems {
		c.compare(have, want, e)
	}
	for e := range want.Elems {
		if _, had := have.Elems[e]; !had {
			c.compare(have, want, e)
		}
	}
	c.sort()
	return c
}

func compareElems(have, want *ruleset.Set, only map[ruleset.Elem]struct{}) *elemChange {
	c := &elemChange{}
	for e := range only {
		c.compare(have, want, e)
	}
	c.sort()
	return c
}

func (c *elemChange) compare(have, want *ruleset.Set, e ruleset.Elem) {
	was, had := have.Elems[e]
	now, wanted := want.Elems[e]
	if had == wanted && was == now {
		return
	}
	if had {
		c.del = append(c.del, ruleset.ElemVerdict{Elem: e, Verdict: was})
	}
	if wanted {
		c.add = append(c.add, ruleset.ElemVerdict{Elem: e, Verdict: now})
	}
}

func (c *elemChange) sort() {
	slices.SortFunc(c.del, ruleset.ElemVerdict.Compare)
	slices.SortFunc(c.add, ruleset.ElemVerdict.Compare)
}

func (d *differ) compareChains(names []string) {
	for _, name := range names {
		have, want := d.have.Chains[name], d.want.Chains[name]
		switch {
		case have == nil && want == nil:
		case have == nil:
			d.newChains = append(d.newChains, name)
			d.filled[name] = true
		case want == nil:
			d.oldChains = append(d.oldChains, name)
			if have.Hook != nil {
				d.cleared[name] = true
			}
		case !have.Hook.Equal(want.Hook):
			d.remade[name] = true
			d.cleared[name], d.filled[name] = true, true
		case !have.SameRules(want):
			d.cleared[name], d.filled[name] = true, true
		}
	}
}

// releaseRemade makes update remove every reference to what is made anew, and write those again that desired has too. It
// looks at the whole table; such objects are somebody else's work and rare.
func (d *differ) releaseRemade() {
	for name, chain := range d.have.Chains {
		if d.cleared[name] || !slices.ContainsFunc(chain.Rules, d.refersToRemade) {
			continue
		}
		d.cleared[name] = true
		if d.want.Chains[name] != nil {
			d.filled[name] = true
		}
	}
	if len(d.remade) == 0 {
		return
	}
	for name, set := range d.have.Sets {
		if !d.resets[name] {
			d.releaseElems(name, set)
		}
	}
}

// refersToRemade reports whether a rule refers to what is made anew. A foreign one may refer to anything.
func (d *differ) refersToRemade(r ruleset.Rule) bool {
	return d.remade[r.Verdict.Chain] || slices.ContainsFunc(r.Matches, func(m ruleset.Match) bool {
		f := ruleset.FactsOf(m)
		return f.Foreign || d.resets[f.Set]
	})
}

func (d *differ) releaseElems(name string, set *ruleset.Set) {
	c := d.elems[name]
	if c == nil {
		c = &elemChange{}
	}
	gone := map[ruleset.Elem]bool{}
	for _, e := range c.del {
		gone[e.Elem] = true
	}
	for e, v := range set.Elems {
		if !d.remade[v.Chain] || gone[e] {
			continue
		}
		c.del = append(c.del, ruleset.ElemVerdict{Elem: e, Verdict: v})
		if want := d.want.Sets[name]; want != nil {
			if now, ok := want.Elems[e]; ok {
				c.add = append(c.add, ruleset.ElemVerdict{Elem: e, Verdict: now})
			}
		}
	}
	c.sort()
	d.elems[name] = c
}

// update removes references before what they refer to, and makes objects before references to them. New base chains come
// last.
func (d *differ) update() *Tx {
	tx := &Tx{}
	for _, name := range sorted(d.cleared) {
		d.flush(tx, name)
	}
	for _, name := range sorted(d.elems) {
		if del := d.elems[name].del; len(del) > 0 {
			tx.Add(DelElems{d.table, d.have.Sets[name], del})
		}
	}
	for _, name := range sorted(d.resets) {
		tx.Add(DelSet{d.table, name})
	}
	for _, name := range sorted(d.cleared) {
		if d.remade[name] || d.want.Chains[name] == nil && d.have.Chains[name].Hook != nil {
			tx.Add(DelChain{d.table, name})
		}
	}
	for _, name := range slices.Sorted(slices.Values(append(sorted(d.resets), d.newSets...))) {
		tx.Add(AddSet{d.table, d.want.Sets[name]})
	}
	made := slices.Sorted(slices.Values(append(sorted(d.remade), d.newChains...)))
	d.makeChains(tx, made, false)
	for _, name := range sorted(d.elems) {
		if add := d.elems[name].add; len(add) > 0 {
			tx.Add(AddElems{d.table, d.want.Sets[name], add})
		}
	}
	d.makeChains(tx, made, true)
	return tx
}

// makeChains makes and fills either all base chains or all others.
func (d *differ) makeChains(tx *Tx, made []string, base bool) {
	for _, name := range made {
		if c := d.want.Chains[name]; (c.Hook != nil) == base {
			tx.Add(AddChain{d.table, c})
		}
	}
	for _, name := range sorted(d.filled) {
		c := d.want.Chains[name]
		if (c.Hook != nil) != base {
			continue
		}
		for _, rule := range c.Rules {
			tx.Add(AddRule{d.table, name, rule})
		}
	}
}

// prune removes all rules first, then sets, then chains, because rules hold both and the elements of sets hold chains.
func (d *differ) prune() *Tx {
	tx := &Tx{}
	for _, name := range d.oldChains {
		if !d.cleared[name] {
			d.flush(tx, name)
		}
	}
	for _, name := range d.oldSets {
		tx.Add(DelSet{d.table, name})
	}
	for _, name := range d.oldChains {
		if d.have.Chains[name].Hook == nil {
			tx.Add(DelChain{d.table, name})
		}
	}
	return tx
}

func (d *differ) flush(tx *Tx, chain string) {
	if len(d.have.Chains[chain].Rules) > 0 {
		tx.Add(FlushChain{d.table, chain})
	}
}

// sorted returns a map's keys in order, so that nothing that is written depends on a map's order.
func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// eitherHas returns the keys that at least one of two maps has, in order.
func eitherHas[V any](a, b map[string]V) []string {
	keys := slices.Concat(sorted(a), sorted(b))
	slices.Sort(keys)
	return slices.Compact(keys)
}
