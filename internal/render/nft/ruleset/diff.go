package ruleset

import (
	"maps"
	"slices"
)

// Diff gives the two transactions that lead from the installed to the desired content of a table. The table
// exists. Both rulesets are consistent: what their rules and elements refer to is there. Diff changes neither,
// but the transactions share sets, chains and rules with them.
//
// change holds everything that any packet could notice; once it is committed, verdicts are those of desired.
// sweep, to be committed after it at any time, removes the chains and sets that nothing reaches any more. They
// are two because kernels before 6.2 refuse to remove a map's element together with the chain that it leads to.
//
// With dirty, only what it names is compared; what sweep removes must then be named too. If change is
// committed and sweep is not, the same names must be compared again. A nil dirty compares everything.
//
// Chains are replaced whole. Where a foreign hand left something that cannot be changed in place (a set of
// another type, a base chain of another hook, or of no hook), change removes it and makes it anew, together with every
// rule and element that refers to it. Chains and sets that desired does not have go in sweep, base chains
// already in change. There is nothing that Diff cannot repair, with two exceptions, for which the remedy is to
// make the table anew: a map of unknown type with elements that lead to a chain to be removed, because nobody
// can see them, on kernels before 6.5; and a chain that stands in the place of one of our base chains while a
// map leads to it, on kernels before 6.2.
func Diff(table string, installed, desired *Ruleset, dirty *Dirty) (change, sweep *Tx) {
	d := &differ{
		table: table, have: installed, want: desired,
		cleared: map[string]bool{}, filled: map[string]bool{},
		remade: map[string]bool{}, resets: map[string]bool{},
		elems: map[string]*elemChange{},
	}
	if dirty == nil {
		d.compareSets(unionKeys(installed.Sets, desired.Sets), nil)
		d.compareChains(unionKeys(installed.Chains, desired.Chains))
	} else {
		d.compareSets(sortedKeys(dirty.Sets), dirty.Sets)
		d.compareChains(sortedKeys(dirty.Chains))
	}
	if len(d.remade)+len(d.resets) > 0 {
		d.releaseRemade()
	}
	return d.change(), d.sweep()
}

// differ collects what differs before anything is written, because the kernel wants another order than the one
// in which differences are found.
type differ struct {
	table      string
	have, want *Ruleset

	cleared map[string]bool        // installed chains whose rules go in change
	filled  map[string]bool        // desired chains whose rules are written
	remade  map[string]bool        // chains whose hook differs: removed and made anew
	resets  map[string]bool        // sets whose kind differs: removed and made anew
	elems   map[string]*elemChange // by set

	newSets, oldSets     []string
	newChains, oldChains []string // without the remade ones
}

// elemChange is what happens to the elements of one set. Elements of a set that goes are removed one by one
// only if that is what frees a chain.
type elemChange struct{ del, add []ElemVerdict }

func (d *differ) compareSets(names []string, only map[string]map[Elem]struct{}) {
	for _, name := range names {
		have, want := d.have.Sets[name], d.want.Sets[name]
		switch {
		case have == nil && want == nil:
		case have == nil:
			d.newSets = append(d.newSets, name)
			d.elems[name] = &elemChange{add: want.sortedElems()}
		case want == nil:
			d.oldSets = append(d.oldSets, name)
			d.elems[name] = &elemChange{del: d.holdingOldChains(have)}
		case !sameSetKind(have, want):
			d.resets[name] = true
			d.elems[name] = &elemChange{add: want.sortedElems()}
		case only != nil && only[name] != nil:
			d.elems[name] = compareElems(have, want, maps.Keys(only[name]))
		default:
			d.elems[name] = compareAllElems(have, want)
		}
	}
}

// holdingOldChains gives the elements of a set that goes which lead to chains that go.
func (d *differ) holdingOldChains(s *Set) []ElemVerdict {
	var holding []ElemVerdict
	for e, v := range s.Elems {
		if v.Chain != "" && d.want.Chains[v.Chain] == nil {
			holding = append(holding, ElemVerdict{e, v})
		}
	}
	slices.SortFunc(holding, compareElemVerdict)
	return holding
}

func compareAllElems(have, want *Set) *elemChange {
	c := &elemChange{}
	for e, v := range have.Elems {
		if now, ok := want.Elems[e]; !ok || now != v {
			c.del = append(c.del, ElemVerdict{e, v})
		}
	}
	for e, v := range want.Elems {
		if was, ok := have.Elems[e]; !ok || was != v {
			c.add = append(c.add, ElemVerdict{e, v})
		}
	}
	c.sort()
	return c
}

func compareElems(have, want *Set, only func(func(Elem) bool)) *elemChange {
	c := &elemChange{}
	for e := range only {
		was, had := have.Elems[e]
		now, wanted := want.Elems[e]
		if had == wanted && was == now {
			continue
		}
		if had {
			c.del = append(c.del, ElemVerdict{e, was})
		}
		if wanted {
			c.add = append(c.add, ElemVerdict{e, now})
		}
	}
	c.sort()
	return c
}

func (c *elemChange) sort() {
	slices.SortFunc(c.del, compareElemVerdict)
	slices.SortFunc(c.add, compareElemVerdict)
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
		case !sameHook(have.Hook, want.Hook):
			d.remade[name] = true
			d.cleared[name], d.filled[name] = true, true
		case !sameRules(have.Rules, want.Rules):
			d.cleared[name], d.filled[name] = true, true
		}
	}
}

// releaseRemade makes the change remove every reference to what is made anew, and write again those that
// desired has too. It looks at the whole table; what is made anew is a foreign hand's work and rare.
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

func (d *differ) refersToRemade(r Rule) bool {
	if d.remade[r.Verdict.Chain] {
		return true
	}
	for _, m := range r.Matches {
		if _, foreign := m.(Foreign); foreign {
			return true // it may refer to anything
		}
		if use, ok := setUseOf(m); ok && d.resets[use.name] {
			return true
		}
	}
	return false
}

func (d *differ) releaseElems(name string, set *Set) {
	c := d.elems[name]
	if c == nil {
		c = &elemChange{}
	}
	gone := map[Elem]bool{}
	for _, e := range c.del {
		gone[e.Elem] = true
	}
	for e, v := range set.Elems {
		if !d.remade[v.Chain] || gone[e] {
			continue
		}
		c.del = append(c.del, ElemVerdict{e, v})
		if want := d.want.Sets[name]; want != nil {
			if now, ok := want.Elems[e]; ok {
				c.add = append(c.add, ElemVerdict{e, now})
			}
		}
	}
	c.sort()
	d.elems[name] = c
}

// change writes references away before what they refer to, and objects before references to them; new base
// chains stand last.
func (d *differ) change() *Tx {
	tx := &Tx{}
	for _, name := range sortedKeys(d.cleared) {
		d.flush(tx, name)
	}
	for _, name := range sortedKeys(d.elems) {
		if del := d.elems[name].del; len(del) > 0 {
			tx.Add(DelElems{d.table, d.have.Sets[name], del})
		}
	}
	for _, name := range sortedKeys(d.resets) {
		tx.Add(DelSet{d.table, name})
	}
	for _, name := range sortedKeys(d.cleared) {
		if d.remade[name] || d.want.Chains[name] == nil && d.have.Chains[name].Hook != nil {
			tx.Add(DelChain{d.table, name})
		}
	}
	made := append(slices.Clone(d.newSets), sortedKeys(d.resets)...)
	slices.Sort(made)
	for _, name := range made {
		tx.Add(AddSet{d.table, d.want.Sets[name]})
	}
	d.addChains(tx)
	return tx
}

func (d *differ) addChains(tx *Tx) {
	made := append(slices.Clone(d.newChains), sortedKeys(d.remade)...)
	slices.Sort(made)
	for _, name := range made {
		if d.want.Chains[name].Hook == nil {
			tx.Add(AddChain{d.table, d.want.Chains[name]})
		}
	}
	filled := sortedKeys(d.filled)
	for _, name := range filled {
		if d.want.Chains[name].Hook == nil {
			d.fill(tx, name)
		}
	}
	for _, name := range sortedKeys(d.elems) {
		if add := d.elems[name].add; len(add) > 0 {
			tx.Add(AddElems{d.table, d.want.Sets[name], add})
		}
	}
	for _, name := range made {
		if d.want.Chains[name].Hook != nil {
			tx.Add(AddChain{d.table, d.want.Chains[name]})
		}
	}
	for _, name := range filled {
		if d.want.Chains[name].Hook != nil {
			d.fill(tx, name)
		}
	}
}

// sweep removes all rules first, then sets, then chains, because rules hold both and the elements of sets hold
// chains.
func (d *differ) sweep() *Tx {
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

func (d *differ) fill(tx *Tx, chain string) {
	for _, rule := range d.want.Chains[chain].Rules {
		tx.Add(AddRule{d.table, chain, rule})
	}
}
