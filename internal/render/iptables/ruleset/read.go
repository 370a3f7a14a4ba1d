package ruleset

import (
	"fmt"
	"net/netip"
	"strings"
)

// ReadChains adds what the output of iptables-save holds of the filter table.
func (s *State) ReadChains(save string) error {
	index := map[string]int{}
	table := ""
	for _, line := range strings.Split(save, "\n") {
		switch {
		case strings.HasPrefix(line, "*"):
			table = line[1:]
		case table != "filter":
		case strings.HasPrefix(line, ":"+Prefix):
			name, _, _ := strings.Cut(line[1:], " ")
			s.Chains[name] = []string{}
		case strings.HasPrefix(line, "-A "):
			chain, rule, _ := strings.Cut(line[3:], " ")
			at := index[chain]
			index[chain]++
			ours := strings.HasPrefix(chain, Prefix)
			if !ours && !strings.Contains(rule, Prefix) {
				continue
			}
			words, err := canonical(rule)
			if err != nil {
				return fmt.Errorf("chain %s: %w", chain, err)
			}
			switch {
			case ours:
				s.Chains[chain] = append(s.Chains[chain], strings.Join(words, " "))
			case strings.HasPrefix(targetChain(words), Prefix):
				s.Jumps = append(s.Jumps, JumpRule{chain, at, strings.Join(words, " ")})
			}
		}
	}
	return nil
}

// ReadSets adds what the output of ipset save holds of our sets of one family.
func (s *State) ReadSets(f Family, save string) error {
	suffix := " " + setWords(f)
	for _, line := range strings.Split(save, "\n") {
		words := strings.Fields(line)
		if len(words) < 3 || !strings.HasPrefix(words[1], Prefix) {
			continue
		}
		switch {
		case words[0] == "create" && len(words) >= 5 && words[3] == "family":
			if spec := strings.Join(words[2:5], " "); strings.HasSuffix(spec, suffix) {
				s.Sets[words[1]] = &SetState{Spec: spec, Members: map[string]struct{}{}}
			}
		case words[0] == "create" && f == V4: // a type without family, which we never create, under a name of ours
			s.Sets[words[1]] = &SetState{Spec: words[2], Members: map[string]struct{}{}}
		case words[0] == "add":
			set := s.Sets[words[1]]
			if set == nil {
				continue
			}
			set.Members[memberText(words[2])] = struct{}{}
		}
	}
	return nil
}

// memberText rewrites the address of a member as Go writes it. Whatever is not a member of ours is returned unchanged.
func memberText(s string) string {
	addr, rest, _ := strings.Cut(s, ",")
	if rest != "" {
		rest = "," + rest
	}
	if p, err := netip.ParsePrefix(addr); err == nil {
		return prefixText(p) + rest
	}
	if a, err := netip.ParseAddr(addr); err == nil {
		return a.String() + rest
	}
	return s
}

// canonical splits a rule into words, and rewrites addresses and quotes as Rule.String does.
func canonical(rule string) ([]string, error) {
	words, err := split(rule)
	if err != nil {
		return nil, err
	}
	for i := range words {
		if i > 0 && (words[i-1] == "-s" || words[i-1] == "-d") {
			if p, err := netip.ParsePrefix(words[i]); err == nil {
				words[i] = p.String()
			} else if a, err := netip.ParseAddr(words[i]); err == nil {
				words[i] = Host(a).String()
			}
		}
		words[i] = quote(words[i])
	}
	return words, nil
}

// targetChain returns the word after the last -j or -g, or "".
func targetChain(words []string) string {
	for i := len(words) - 2; i >= 0; i-- {
		if words[i] == "-j" || words[i] == "-g" {
			return words[i+1]
		}
	}
	return ""
}

// split splits a line of iptables-save into words. Blanks separate words, except inside double quotes, where a backslash
// makes the next character literal.
func split(line string) ([]string, error) {
	var words []string
	var word strings.Builder
	inside, quoted := false, false
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case quoted && c == '\\' && i+1 < len(line):
			i++
			word.WriteByte(line[i])
		case c == '"':
			quoted = !quoted
			inside = true
		case c == ' ' && !quoted:
			if inside {
				words = append(words, word.String())
				word.Reset()
			}
			inside = false
		default:
			word.WriteByte(c)
			inside = true
		}
	}
	if quoted {
		return nil, fmt.Errorf("unterminated quote in %q", line)
	}
	if inside {
		words = append(words, word.String())
	}
	return words, nil
}

// StandsFirst reports whether the rule is the first of a chain's rules, and no other one leads to a chain of ours.
func StandsFirst(rule string, rules []string) bool {
	for i, text := range rules {
		words, err := canonical(text)
		if err != nil {
			return false
		}
		if first := i == 0; first != strings.HasPrefix(targetChain(words), Prefix) || first && strings.Join(words, " ") != rule {
			return false
		}
	}
	return len(rules) > 0
}
