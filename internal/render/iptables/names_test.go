package iptables_test

import (
	"strings"
	"testing"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/render/iptables"
	"github.com/netpol-agent/netpol-agent/internal/render/iptables/ruleset"
)

// TestSetsOfOneNameAreOfOneType pins which word in a set's name stands for which type. A set that rules name can
// neither be destroyed nor change its type, so a new layout could not replace the installed one if it used an old name
// for another type. Choose another word for another type.
func TestSetsOfOneNameAreOfOneType(t *testing.T) {
	types := map[string]ruleset.SetType{"P": ruleset.HashIP, "N": ruleset.HashIPPort, "B": ruleset.HashNet}
	seen := map[string]bool{}
	programs := goldens(t)
	programs["every word"] = everyWord()
	for name, p := range programs {
		rules := iptables.Render(p)
		for _, f := range program.Families() {
			for _, s := range rules.Table(f).Sets {
				family, rest := s.Name[len(ruleset.Prefix):][:1], s.Name[len(ruleset.Prefix)+1:]
				word, _, _ := strings.Cut(rest, "-")
				typ, known := types[word]
				if !known || typ != s.Type || family != map[ruleset.Family]string{ruleset.V4: "4", ruleset.V6: "6"}[f] {
					t.Errorf("%s: %s: set %s of type %s", name, f, s.Name, s.Type)
				}
				seen[word] = true
			}
		}
	}
	if len(seen) != len(types) {
		t.Errorf("seen only %v", seen)
	}
}
