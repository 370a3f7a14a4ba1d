package arrange

import "maps"

// Dirty names what may differ between the desired and the installed ruleset, so that a comparison need not look at
// anything else. Naming too much costs time; naming too little leaves the difference in place until the next full
// comparison. E is an element of a set.
type Dirty[E comparable] struct {
	// Chains to compare, by name.
	Chains map[string]struct{}
	// Sets to compare, by name, with the elements to compare. A nil map stands for all of them. A set that only
	// one of the rulesets has is always taken whole.
	Sets map[string]map[E]struct{}
}

// NewDirty returns a Dirty that names nothing.
func NewDirty[E comparable]() *Dirty[E] {
	return &Dirty[E]{Chains: map[string]struct{}{}, Sets: map[string]map[E]struct{}{}}
}

// Chain marks a chain.
func (d *Dirty[E]) Chain(name string) { d.Chains[name] = struct{}{} }

// Set marks a set with all of its elements.
func (d *Dirty[E]) Set(name string) { d.Sets[name] = nil }

// Elem marks one element of a set.
func (d *Dirty[E]) Elem(set string, e E) {
	elems, marked := d.Sets[set]
	if marked && elems == nil {
		return
	}
	if !marked {
		elems = map[E]struct{}{}
		d.Sets[set] = elems
	}
	elems[e] = struct{}{}
}

// Merge marks what o marks.
func (d *Dirty[E]) Merge(o *Dirty[E]) {
	maps.Copy(d.Chains, o.Chains)
	for set, elems := range o.Sets {
		if elems == nil {
			d.Set(set)
			continue
		}
		if _, marked := d.Sets[set]; !marked {
			d.Sets[set] = make(map[E]struct{}, len(elems))
		}
		for e := range elems {
			d.Elem(set, e)
		}
	}
}

// Empty reports whether nothing is marked.
func (d *Dirty[E]) Empty() bool { return len(d.Chains) == 0 && len(d.Sets) == 0 }
