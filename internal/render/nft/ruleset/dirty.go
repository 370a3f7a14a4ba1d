package ruleset

import "github.com/netpol-agent/netpol-agent/internal/render/arrange"

// Dirty names what may differ between two rulesets.
type Dirty = arrange.Dirty[Elem]

// NewDirty returns a Dirty that names nothing.
func NewDirty() *Dirty { return arrange.NewDirty[Elem]() }
