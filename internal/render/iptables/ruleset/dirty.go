package ruleset

import "github.com/netpol-agent/netpol-agent/internal/render/arrange"

// Dirty names what may differ between a table and what is installed.
type Dirty = arrange.Dirty[Member]

// NewDirty returns a Dirty that names nothing.
func NewDirty() *Dirty { return arrange.NewDirty[Member]() }

// everything marks what either the table or the state has.
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
