package rules

import (
	"github.com/netpol-agent/netpol-agent/internal/render/iptables"
	"github.com/netpol-agent/netpol-agent/internal/render/iptables/ruleset"
)

// programs times the programs that write.
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
