package ruleset

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Text returns the ruleset as the table of that name, in the language of the nft tool, which can load it with nft -f.
// Equal rulesets with equal comments have equal texts: sets come first, then base chains, then the other chains, each
// in order of name; elements are in order of address and port. What was read from the kernel and is foreign to this
// project is shown as a remark.
func (r *Ruleset) Text(table string) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(r.Sets)) {
		parts = append(parts, r.Sets[name].text())
	}
	for _, c := range slices.SortedFunc(maps.Values(r.Chains), compareChains) {
		parts = append(parts, c.text())
	}
	return fmt.Sprintf("table inet %s {\n%s}\n", table, strings.Join(parts, "\n"))
}

// compareChains puts base chains first.
func compareChains(a, b *Chain) int {
	if (a.Hook != nil) != (b.Hook != nil) {
		if a.Hook != nil {
			return -1
		}
		return 1
	}
	return cmp.Compare(a.Name, b.Name)
}

func (s *Set) text() string {
	if s.Type == ForeignType {
		return fmt.Sprintf("\t# foreign set %s\n", s.Name)
	}
	lines := s.Statements()
	switch elems := s.Sorted(); len(elems) {
	case 0:
	case 1:
		lines = append(lines, "elements = { "+s.ElemText(elems[0])+" }")
	default:
		lines = append(lines, "elements = {")
		for i, e := range elems {
			comma := ","
			if i == len(elems)-1 {
				comma = ""
			}
			lines = append(lines, "\t"+s.ElemText(e)+comma)
		}
		lines = append(lines, "}")
	}
	return blockText(s.Keyword(), s.Name, lines)
}

func (c *Chain) text() string {
	lines := c.Statements()
	for _, rule := range c.Rules {
		lines = append(lines, rule.String())
	}
	return blockText("chain", c.Name, lines)
}

func blockText(keyword, name string, lines []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\t%s %s {\n", keyword, name)
	for _, line := range lines {
		fmt.Fprintf(&b, "\t\t%s\n", line)
	}
	b.WriteString("\t}\n")
	return b.String()
}

// Keyword returns what the nft tool calls the set: set or map.
func (s *Set) Keyword() string {
	if s.Verdicts {
		return "map"
	}
	return "set"
}

// Statements returns what the nft tool needs to make the set, without its elements.
func (s *Set) Statements() []string {
	typ := "type " + s.Type.String()
	if s.Verdicts {
		typ += " : verdict"
	}
	lines := []string{typ}
	if s.Interval {
		lines = append(lines, "flags interval")
	}
	return append(lines, CommentStatement(s.Comment)...)
}

// Statements returns what the nft tool needs to make the chain, without its rules.
func (c *Chain) Statements() []string {
	lines := CommentStatement(c.Comment)
	switch {
	case c.Hook == nil:
	case c.Hook.Point == ForeignHook:
		lines = append(lines, "# foreign base chain")
	default:
		lines = append(lines, fmt.Sprintf("type filter hook %s priority %d; policy accept;", c.Hook.Point, c.Hook.Priority))
	}
	return lines
}

// CommentStatement returns the statement that gives an object its comment, and nothing if the comment is empty.
func CommentStatement(comment string) []string {
	if comment == "" {
		return nil
	}
	return []string{fmt.Sprintf("comment \"%s\"", comment)}
}
