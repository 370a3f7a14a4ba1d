package ruleset

import "maps"

// Dirty names what may differ between two rulesets, so that Diff need not look at anything else. Whoever
// changes the desired ruleset keeps it up to date; naming too much costs time, naming too little leaves the
// difference in place until the next full comparison.
type Dirty struct {
	// Chains to compare, by name.
	Chains map[string]struct{}
	// Sets to compare, by name, with the elements to compare. A nil map stands for all of them. A set that only
	// one of the rulesets has is always taken whole.
	Sets map[string]map[Elem]struct{}
}

// NewDirty gives a Dirty that names nothing.
func NewDirty() *Dirty {
	return &Dirty{Chains: map[string]struct{}{}, Sets: map[string]map[Elem]struct{}{}}
}

// Chain marks a chain.
func (d *Dirty) Chain(name string) { d.Chains[name] = struct{}{} }

// Set marks a set with all of its elements.
func (d *Dirty) Set(name string) { d.Sets[name] = nil }

// Elem marks one element of a set.
func (d *Dirty) Elem(set string, e Elem) {
	elems, marked := d.Sets[set]
	if marked && elems == nil {
		return
	}
	if !marked {
		elems = map[Elem]struct{}{}
		d.Sets[set] = elems
	}
	elems[e] = struct{}{}
}

// Merge marks what o marks.
func (d *Dirty) Merge(o *Dirty) {
	maps.Copy(d.Chains, o.Chains)
	for set, elems := range o.Sets {
		if elems == nil {
			d.Set(set)
			continue
		}
		if _, marked := d.Sets[set]; !marked {
			d.Sets[set] = make(map[Elem]struct{}, len(elems))
		}
		for e := range elems {
			d.Elem(set, e)
		}
	}
}

// Empty says whether nothing is marked.
func (d *Dirty) Empty() bool { return len(d.Chains) == 0 && len(d.Sets) == 0 }
