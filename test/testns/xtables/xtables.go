// Package xtables runs the programs of the iptables backend in the network namespace of a test or a measurement. It
// does not decide how to enter the namespace, and knows nothing about rules.
package xtables

import (
	"github.com/netpol-agent/netpol-agent/internal/render/iptables/kernel"
	"github.com/netpol-agent/netpol-agent/internal/render/iptables/ruleset"
)

// Programs are the programs of a variant inside a namespace. They implement the iptables renderer's Kernel.
type Programs struct {
	*kernel.Tools
	do func(func() error) error
}

// Within opens a variant with kernel.Open or kernel.Find. do calls a function on a thread of the namespace.
func Within(do func(func() error) error, open func(kernel.Variant, ...kernel.Option) (*kernel.Tools, error), v kernel.Variant) (p Programs, err error) {
	p.do = do
	err = do(func() (err error) { p.Tools, err = open(v); return err })
	return p, err
}

// Save returns the filter table.
func (p Programs) Save(f ruleset.Family) (out string, err error) {
	err = p.do(func() (err error) { out, err = p.Tools.Save(f); return err })
	return out, err
}

// Restore runs iptables-restore.
func (p Programs) Restore(f ruleset.Family, script string) error {
	return p.do(func() error { return p.Tools.Restore(f, script) })
}

// SaveSets returns the sets.
func (p Programs) SaveSets() (out string, err error) {
	err = p.do(func() (err error) { out, err = p.Tools.SaveSets(); return err })
	return out, err
}

// RestoreSets runs ipset restore.
func (p Programs) RestoreSets(script string) error {
	return p.do(func() error { return p.Tools.RestoreSets(script) })
}

// Head returns the rules of a built-in chain.
func (p Programs) Head(f ruleset.Family, chain string) (out []string, err error) {
	err = p.do(func() (err error) { out, err = p.Tools.Head(f, chain); return err })
	return out, err
}
