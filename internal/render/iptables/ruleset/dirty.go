package ruleset

import "maps"

// Dirty names what may differ between the installed and the desired table, so that Diff looks at nothing else. Naming
// too much costs time. Naming too little leaves the difference in place until the next full comparison.
type Dirty struct {
	Chains map[string]struct{}
	// Sets holds the members to compare of each set; nil stands for all of them. A set that appears or disappears is
	// compared as a whole.
	Sets map[string]map[Member]struct{}
}

// NewDirty returns a Dirty that names nothing.
func NewDirty() *Dirty {
	return &Dirty{Chains: map[string]struct{}{}, Sets: map[string]map[Member]struct{}{}}
}

// Chain marks a chain.
func (d *Dirty) Chain(name string) { d.Chains[name] = struct{}{} }

// Set marks a set with all of its members.
func (d *Dirty) Set(name string) { d.Sets[name] = nil }

// Member marks one member of a set.
func (d *Dirty) Member(set string, m Member) {
	members, marked := d.Sets[set]
	if marked && members == nil {
		return
	}
	if !marked {
		members = map[Member]struct{}{}
		d.Sets[set] = members
	}
	members[m] = struct{}{}
}

// Merge marks what o marks.
func (d *Dirty) Merge(o *Dirty) {
	maps.Copy(d.Chains, o.Chains)
	for set, members := range o.Sets {
		if members == nil {
			d.Set(set)
		}
		for m := range members {
			d.Member(set, m)
		}
	}
}

// everything marks whatever the table or the state has.
func everything(t *Table, s *State) *Dirty {
	d := NewDirty()
	for name := range t.Chains {
		d.Chain(name)
	}
	for name := range s.Chains {
		d.Chain(name)
	}
	for name := range t.Sets {
		d.Set(name)
	}
	for name := range s.Sets {
		d.Set(name)
	}
	return d
}
