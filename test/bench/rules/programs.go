package rules

import (
	"github.com/netpol-agent/netpol-agent/internal/render/iptables"
	ipkernel "github.com/netpol-agent/netpol-agent/internal/render/iptables/kernel"
	"github.com/netpol-agent/netpol-agent/internal/render/iptables/ruleset"
	"github.com/netpol-agent/netpol-agent/test/bench/space"
)

// inside runs the programs inside a namespace.
type inside struct {
	space *space.Space
	tools *ipkernel.Tools
}

// Save reads the filter table.
func (k inside) Save(f ruleset.Family) (out string, err error) {
	err = k.space.Do(func() (err error) { out, err = k.tools.Save(f); return })
	return out, err
}

// Restore runs iptables-restore.
func (k inside) Restore(f ruleset.Family, script string) error {
	return k.space.Do(func() error { return k.tools.Restore(f, script) })
}

// SaveSets reads the sets.
func (k inside) SaveSets() (out string, err error) {
	err = k.space.Do(func() (err error) { out, err = k.tools.SaveSets(); return })
	return out, err
}

// RestoreSets runs ipset restore.
func (k inside) RestoreSets(script string) error {
	return k.space.Do(func() error { return k.tools.RestoreSets(script) })
}

// Head reads the rules of a built-in chain.
func (k inside) Head(f ruleset.Family, chain string) (out []string, err error) {
	err = k.space.Do(func() (err error) { out, err = k.tools.Head(f, chain); return })
	return out, err
}

// programs times those that write.
type programs struct {
	iptables.Kernel
	rules *Rules
}

// Restore times iptables-restore.
func (p programs) Restore(f ruleset.Family, script string) error {
	return p.rules.time(func() error { return p.Kernel.Restore(f, script) })
}

// RestoreSets times ipset restore.
func (p programs) RestoreSets(script string) error {
	return p.rules.time(func() error { return p.Kernel.RestoreSets(script) })
}
