// Package iptfake stands in for the iptables and ipset programs and for the kernel behind them, in tests of the
// iptables backend. A model accepts and refuses scripts as they do, returns what is installed as a value, and traces
// the verdict that a packet gets.
//
// It decides nothing about the rules. It parses scripts with code of its own, so that a mistake in the product's does
// not go unnoticed. No product code may import it.
package iptfake

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/render/iptables/kernel"
	"github.com/netpol-agent/netpol-agent/internal/render/iptables/ruleset"
)

// Limits of the programs and the kernel.
const (
	maxChainName = 28
	maxSetName   = 31
	maxComment   = 255
	// maxDepth is how many nested chains the nftables variant follows.
	maxDepth = 16
)

// Model is the filter tables and ipsets of a network namespace, as far as this project is concerned. It implements the
// iptables renderer's Kernel.
type Model struct {
	// tables holds, by family, the rules of each chain of the filter table.
	tables map[ruleset.Family]map[string][]string
	sets   map[string]*ruleset.SetState
}

// refuse returns the error for a line of a script that the programs or the kernel would refuse.
func refuse(line, reason string) error { return fmt.Errorf("%s: refused: %s", reason, line) }

// NewModel returns a namespace in which nothing is installed.
func NewModel() *Model {
	m := &Model{tables: map[ruleset.Family]map[string][]string{}, sets: map[string]*ruleset.SetState{}}
	for _, f := range program.Families() {
		m.tables[f] = map[string][]string{"INPUT": nil, "FORWARD": nil, "OUTPUT": nil}
	}
	return m
}

// Variant returns the legacy variant.
func (m *Model) Variant() kernel.Variant { return kernel.Legacy }

// Save returns what iptables-save -t filter would.
func (m *Model) Save(f ruleset.Family) (string, error) {
	var b strings.Builder
	b.WriteString("*filter\n")
	for _, chain := range sorted(m.tables[f]) {
		fmt.Fprintf(&b, ":%s - [0:0]\n", chain)
	}
	for _, chain := range sorted(m.tables[f]) {
		for _, rule := range m.tables[f][chain] {
			fmt.Fprintf(&b, "-A %s %s\n", chain, rule)
		}
	}
	b.WriteString("COMMIT\n")
	return b.String(), nil
}

// SaveSets returns what ipset save would.
func (m *Model) SaveSets() (string, error) {
	var b strings.Builder
	for _, name := range sorted(m.sets) {
		fmt.Fprintf(&b, "create %s %s hashsize 64\n", name, m.sets[name].Spec)
		for _, member := range sorted(m.sets[name].Members) {
			fmt.Fprintf(&b, "add %s %s\n", name, member)
		}
	}
	return b.String(), nil
}

// Head returns the rules of a built-in chain.
func (m *Model) Head(f ruleset.Family, chain string) ([]string, error) {
	return slices.Clone(m.tables[f][chain]), nil
}

// Restore does what iptables-restore --noflush does: all of the script or nothing.
func (m *Model) Restore(f ruleset.Family, script string) error {
	chains := map[string][]string{}
	for name, rules := range m.tables[f] {
		chains[name] = slices.Clone(rules)
	}
	for _, line := range strings.Split(script, "\n") {
		if err := m.restoreLine(chains, line); err != nil {
			return err
		}
	}
	for name, rules := range chains {
		for _, rule := range rules {
			if err := m.checkRule(f, chains, split(rule)); err != nil {
				return refuse(name+" "+rule, err.Error())
			}
		}
	}
	for name := range chains {
		if err := checkDepth(chains, name, 0); err != nil {
			return err
		}
	}
	m.tables[f] = chains
	return nil
}

func (m *Model) restoreLine(chains map[string][]string, line string) error {
	verb, rest, _ := strings.Cut(line, " ")
	chain, rule, _ := strings.Cut(rest, " ")
	_, there := chains[chain]
	switch {
	case line == "" || line == "*filter" || line == "COMMIT":
		return nil
	case strings.HasPrefix(verb, ":"):
		if len(verb)-1 > maxChainName {
			return refuse(line, "name too long")
		}
		chains[verb[1:]] = nil
		return nil
	case !there:
		return refuse(line, "no such chain")
	}
	switch verb {
	case "-A":
		chains[chain] = append(chains[chain], rule)
	case "-I":
		chains[chain] = slices.Insert(chains[chain], 0, strings.TrimPrefix(rule, "1 "))
	case "-D":
		i := slices.Index(chains[chain], rule)
		if i < 0 {
			return refuse(line, "no such rule")
		}
		chains[chain] = slices.Delete(chains[chain], i, i+1)
	case "-X":
		if len(chains[chain]) > 0 {
			return refuse(line, "chain not empty")
		}
		delete(chains, chain)
	default:
		return refuse(line, "not understood")
	}
	return nil
}

func (m *Model) checkRule(f ruleset.Family, chains map[string][]string, words []string) error {
	for i := 0; i+1 < len(words); i++ {
		switch words[i] {
		case "-j", "-g":
			_, known := chains[words[i+1]]
			if known || words[i] == "-j" && slices.Contains([]string{"RETURN", "DROP", "ACCEPT"}, words[i+1]) {
				continue
			}
			return fmt.Errorf("no chain %s", words[i+1])
		case "--match-set":
			set := m.sets[words[i+1]]
			if set == nil || !strings.HasSuffix(set.Spec, " family "+inet(f)) {
				return fmt.Errorf("no set %s of %s", words[i+1], f)
			}
		case "--comment":
			if len(words[i+1]) > maxComment {
				return errors.New("comment too long")
			}
		}
	}
	return nil
}

func checkDepth(chains map[string][]string, name string, depth int) error {
	if depth >= maxDepth {
		return refuse(name, "too many levels of chains")
	}
	for _, rule := range chains[name] {
		to := rule[strings.LastIndexByte(rule, ' ')+1:] // the target comes last
		if chains[to] != nil {
			if err := checkDepth(chains, to, depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

// RestoreSets does what ipset restore -exist does: line after line, up to the first that is refused.
func (m *Model) RestoreSets(script string) error {
	for _, line := range strings.Split(script, "\n") {
		if words := strings.Fields(line); len(words) > 0 {
			if reason := m.setLine(words); reason != "" {
				return refuse(line, reason)
			}
		}
	}
	return nil
}

func (m *Model) setLine(words []string) string {
	set := m.sets[words[1]]
	switch words[0] {
	case "create":
		spec := strings.Join(words[2:5], " ")
		if len(words[1]) > maxSetName {
			return "name too long"
		}
		if set != nil && set.Spec != spec {
			return "exists with another type"
		}
		if set == nil {
			m.sets[words[1]] = &ruleset.SetState{Spec: spec, Members: map[string]struct{}{}}
		}
		return ""
	case "destroy":
		if m.referenced(words[1]) {
			return "in use"
		}
		if set == nil {
			return "no such set"
		}
		delete(m.sets, words[1])
		return ""
	}
	if set == nil {
		return "no such set"
	}
	if reason := checkMember(set.Spec, words[2]); reason != "" {
		return reason
	}
	if words[0] == "del" {
		delete(set.Members, words[2])
	} else {
		set.Members[words[2]] = struct{}{}
	}
	return ""
}

func checkMember(spec, member string) string {
	addr, port, _ := strings.Cut(member, ",")
	p, err := netip.ParsePrefix(addr)
	if err != nil {
		a, err := netip.ParseAddr(addr)
		if err != nil {
			return "not an address"
		}
		p = ruleset.Host(a)
	}
	switch {
	case p.Bits() == 0:
		return "prefix of length 0"
	case p.Addr().Is4() != strings.HasSuffix(spec, "inet"):
		return "other family"
	case strings.HasPrefix(spec, "hash:ip,port") != (port != ""):
		return "wrong shape"
	case strings.HasPrefix(spec, "hash:ip") && !p.IsSingleIP():
		return "not an address"
	}
	return ""
}

func (m *Model) referenced(set string) bool {
	for _, chains := range m.tables {
		for rules := range maps.Values(chains) {
			for _, r := range rules {
				if strings.Contains(r, "--match-set "+set+" ") {
					return true
				}
			}
		}
	}
	return false
}

// State returns what the namespace has of ours in one family, as the product reads it back.
func (m *Model) State(f ruleset.Family) (*ruleset.State, error) {
	s := ruleset.NewState()
	chains, _ := m.Save(f)
	sets, _ := m.SaveSets()
	return s, errors.Join(s.ReadChains(chains), s.ReadSets(f, sets))
}

var word = regexp.MustCompile(`"[^"]*"|\S+`)

// split splits a rule into words. It does not handle quotes inside quotes: no rule here has any.
func split(rule string) []string {
	words := word.FindAllString(rule, -1)
	for i := range words {
		words[i] = strings.Trim(words[i], `"`)
	}
	return words
}

// inet returns the word by which ipset names a family.
func inet(f ruleset.Family) string {
	return map[ruleset.Family]string{ruleset.V4: "inet", ruleset.V6: "inet6"}[f]
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
