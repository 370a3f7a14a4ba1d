package ruleset

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// Model is a network namespace's filter tables and ipsets as far as this project concerns them. It takes the
// scripts that the tools take and refuses what they or the kernel refuse, so it serves as fake kernel in
// tests.
type Model struct {
	// tables holds, by family, the rules of each chain of the filter table.
	tables map[Family]map[string][]string
	sets   map[string]*SetState
}

// RefusalError says what the kernel would refuse, and at which line of a script.
type RefusalError struct{ Line, Reason string }

func (e *RefusalError) Error() string { return fmt.Sprintf("%s: refused: %s", e.Reason, e.Line) }

// NewModel gives a namespace in which nothing is installed.
func NewModel() *Model {
	m := &Model{tables: map[Family]map[string][]string{}, sets: map[string]*SetState{}}
	for _, f := range Families() {
		m.tables[f] = map[string][]string{"INPUT": nil, "FORWARD": nil, "OUTPUT": nil}
	}
	return m
}

// Save gives what iptables-save -t filter would.
func (m *Model) Save(f Family) (string, error) {
	var b strings.Builder
	b.WriteString("*filter\n")
	for _, chain := range sortedKeys(m.tables[f]) {
		fmt.Fprintf(&b, ":%s - [0:0]\n", chain)
	}
	for _, chain := range sortedKeys(m.tables[f]) {
		for _, rule := range m.tables[f][chain] {
			fmt.Fprintf(&b, "-A %s %s\n", chain, rule)
		}
	}
	b.WriteString("COMMIT\n")
	return b.String(), nil
}

// SaveSets gives what ipset save would.
func (m *Model) SaveSets() (string, error) {
	var b strings.Builder
	for _, name := range sortedKeys(m.sets) {
		fmt.Fprintf(&b, "create %s %s hashsize 64\n", name, m.sets[name].Spec)
		for _, member := range sortedKeys(m.sets[name].Members) {
			fmt.Fprintf(&b, "add %s %s\n", name, member)
		}
	}
	return b.String(), nil
}

// Head gives the rules of a built-in chain.
func (m *Model) Head(f Family, chain string) ([]string, error) {
	return slices.Clone(m.tables[f][chain]), nil
}

// Restore does what iptables-restore --noflush does: all of the script or nothing.
func (m *Model) Restore(f Family, script string) error {
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
			words, err := canonical(rule)
			if err != nil {
				return &RefusalError{rule, err.Error()}
			}
			if err := m.checkRule(f, chains, words); err != nil {
				return &RefusalError{name + " " + rule, err.Error()}
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
	refuse := func(why string) error { return &RefusalError{line, why} }
	verb, rest, _ := strings.Cut(line, " ")
	chain, rule, _ := strings.Cut(rest, " ")
	_, there := chains[chain]
	switch {
	case line == "" || line == "*filter" || line == "COMMIT":
		return nil
	case strings.HasPrefix(verb, ":"):
		if len(verb)-1 > maxChainName {
			return refuse("name too long")
		}
		chains[verb[1:]] = nil
		return nil
	case !there:
		return refuse("no such chain")
	}
	switch verb {
	case "-A":
		chains[chain] = append(chains[chain], rule)
	case "-I":
		chains[chain] = slices.Insert(chains[chain], 0, strings.TrimPrefix(rule, "1 "))
	case "-D":
		i := slices.Index(chains[chain], rule)
		if i < 0 {
			return refuse("no such rule")
		}
		chains[chain] = slices.Delete(chains[chain], i, i+1)
	case "-X":
		if len(chains[chain]) > 0 {
			return refuse("chain not empty")
		}
		delete(chains, chain)
	default:
		return refuse("not understood")
	}
	return nil
}

func (m *Model) checkRule(f Family, chains map[string][]string, words []string) error {
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
			if set == nil || !strings.HasSuffix(set.Spec, " "+f.setWords()) {
				return fmt.Errorf("no set %s of %s", words[i+1], f)
			}
		case "--comment":
			if len(words[i+1]) > maxComment+2 {
				return errors.New("comment too long")
			}
		}
	}
	return nil
}

// maxDepth is how many chains in a row the nftables variant follows.
const maxDepth = 16

func checkDepth(chains map[string][]string, name string, depth int) error {
	if depth >= maxDepth {
		return &RefusalError{name, "too many levels of chains"}
	}
	for _, rule := range chains[name] {
		words := strings.Fields(rule)
		if to := targetChain(words); chains[to] != nil {
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
				return &RefusalError{line, reason}
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
			m.sets[words[1]] = &SetState{Spec: spec, Members: map[string]struct{}{}}
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
		p = Host(a)
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

// State gives what the namespace has of ours in one family.
func (m *Model) State(f Family) (*State, error) {
	s := NewState()
	chains, _ := m.Save(f)
	if err := s.ReadChains(chains); err != nil {
		return nil, err
	}
	sets, _ := m.SaveSets()
	return s, s.ReadSets(f, sets)
}
