package iptfake

import (
	"fmt"
	"strings"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/render/iptables/ruleset"
)

// StateOf returns what is installed once a table has been written.
func StateOf(t *ruleset.Table) *ruleset.State {
	s := ruleset.NewState()
	s.Take(t, nil)
	return s
}

// Difference describes for people where two rulesets differ. It returns "" if they do not.
func Difference(want, have *ruleset.Ruleset) string {
	var b strings.Builder
	for _, f := range program.Families() {
		if p := ruleset.Diff(want.Table(f), StateOf(have.Table(f)), nil); !p.Empty() {
			fmt.Fprintf(&b, "%s:\n%s%s%s%s", f, p.Before, p.Restore, p.After, p.Destroy)
		}
	}
	return b.String()
}
