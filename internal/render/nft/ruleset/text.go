package ruleset

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// Text writes the ruleset as the table of that name, in the language of the nft tool: what it gives can be
// loaded with nft -f. Equal rulesets with equal comments have equal texts: sets stand in order of name, then
// base chains, then the other chains, both in order of name; elements stand in order of address and port.
// What was read from the kernel and is foreign to this project is shown as a remark.
func (r *Ruleset) Text(table string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "table inet %s {\n", table)
	gap := ""
	for _, name := range sortedKeys(r.Sets) {
		b.WriteString(gap)
		r.Sets[name].writeText(&b)
		gap = "\n"
	}
	for _, name := range r.chainOrder() {
		b.WriteString(gap)
		r.Chains[name].writeText(&b)
		gap = "\n"
	}
	b.WriteString("}\n")
	return b.String()
}

// WriteText writes what Text gives. The error is that of w.
func (r *Ruleset) WriteText(w io.Writer, table string) error {
	if _, err := io.WriteString(w, r.Text(table)); err != nil {
		return fmt.Errorf("write table %s: %w", table, err)
	}
	return nil
}

// chainOrder gives the names of the base chains, then those of the others, each in order of name.
func (r *Ruleset) chainOrder() []string {
	return slices.SortedFunc(maps.Keys(r.Chains), func(a, b string) int {
		baseA, baseB := r.Chains[a].Hook != nil, r.Chains[b].Hook != nil
		if baseA != baseB {
			if baseA {
				return -1
			}
			return 1
		}
		return strings.Compare(a, b)
	})
}

func (s *Set) writeText(b *strings.Builder) {
	if s.Type == ForeignType {
		fmt.Fprintf(b, "\t# foreign set %s\n", s.Name)
		return
	}
	fmt.Fprintf(b, "\t%s %s {\n", s.keyword(), s.Name)
	for _, line := range s.specText() {
		fmt.Fprintf(b, "\t\t%s\n", line)
	}
	switch elems := s.sortedElems(); len(elems) {
	case 0:
	case 1:
		fmt.Fprintf(b, "\t\telements = { %s }\n", s.elemText(elems[0]))
	default:
		b.WriteString("\t\telements = {\n")
		for i, e := range elems {
			comma := ","
			if i == len(elems)-1 {
				comma = ""
			}
			fmt.Fprintf(b, "\t\t\t%s%s\n", s.elemText(e), comma)
		}
		b.WriteString("\t\t}\n")
	}
	b.WriteString("\t}\n")
}

func (s *Set) keyword() string {
	if s.Verdicts {
		return "map"
	}
	return "set"
}

// specText gives the statements that define the set.
func (s *Set) specText() []string {
	typ := "type " + s.Type.String()
	if s.Verdicts {
		typ += " : verdict"
	}
	lines := []string{typ}
	if s.Interval {
		lines = append(lines, "flags interval")
	}
	if s.Comment != "" {
		lines = append(lines, fmt.Sprintf("comment \"%s\"", s.Comment))
	}
	return lines
}

func (c *Chain) writeText(b *strings.Builder) {
	fmt.Fprintf(b, "\tchain %s {\n", c.Name)
	for _, line := range c.specText() {
		fmt.Fprintf(b, "\t\t%s\n", line)
	}
	for _, rule := range c.Rules {
		fmt.Fprintf(b, "\t\t%s\n", rule)
	}
	b.WriteString("\t}\n")
}

// specText gives the statements that define the chain.
func (c *Chain) specText() []string {
	var lines []string
	if c.Comment != "" {
		lines = append(lines, fmt.Sprintf("comment \"%s\"", c.Comment))
	}
	switch {
	case c.Hook == nil:
	case c.Hook.Point == ForeignHook:
		lines = append(lines, "# foreign base chain")
	default:
		lines = append(lines, fmt.Sprintf("type filter hook %s priority %d; policy accept;", c.Hook.Point, c.Hook.Priority))
	}
	return lines
}
