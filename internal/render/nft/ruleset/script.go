package ruleset

import (
	"fmt"
	"strings"
)

// String writes the transaction as a script of the nft tool that does the same, one operation a line. It serves
// logs and tests; the agent itself speaks to the kernel without the tool.
func (t *Tx) String() string {
	if t == nil {
		return ""
	}
	var b strings.Builder
	for _, op := range t.Ops {
		b.WriteString(OpText(op))
		b.WriteByte('\n')
	}
	return b.String()
}

// OpText writes one operation as a command of the nft tool.
func OpText(op Op) string {
	switch op := op.(type) {
	case AddTable:
		return "create table inet " + op.Table + block(commentOnly(op.Comment))
	case DelTable:
		return "delete table inet " + op.Table
	case AddChain:
		return fmt.Sprintf("create chain inet %s %s%s", op.Table, op.Chain.Name, block(op.Chain.specText()))
	case DelChain:
		return fmt.Sprintf("delete chain inet %s %s", op.Table, op.Chain)
	case FlushChain:
		return fmt.Sprintf("flush chain inet %s %s", op.Table, op.Chain)
	case AddRule:
		return fmt.Sprintf("add rule inet %s %s %s", op.Table, op.Chain, op.Rule)
	case AddSet:
		return fmt.Sprintf("create %s inet %s %s%s", op.Set.keyword(), op.Table, op.Set.Name, block(op.Set.specText()))
	case DelSet:
		return fmt.Sprintf("delete set inet %s %s", op.Table, op.Set)
	case AddElems:
		return elemsText("create", op.Table, op.Set, op.Elems, op.Set.elemText)
	case DelElems:
		return elemsText("delete", op.Table, op.Set, op.Elems, func(e ElemVerdict) string { return op.Set.keyText(e.Elem) })
	}
	return fmt.Sprintf("# unknown operation %T", op)
}

func commentOnly(comment string) []string {
	if comment == "" {
		return nil
	}
	return []string{fmt.Sprintf("comment \"%s\"", comment)}
}

func block(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString(" {")
	for _, line := range lines {
		b.WriteString(" " + strings.TrimSuffix(line, ";") + ";")
	}
	b.WriteString(" }")
	return b.String()
}

func elemsText(verb, table string, s *Set, elems []ElemVerdict, text func(ElemVerdict) string) string {
	parts := make([]string, len(elems))
	for i, e := range elems {
		parts[i] = text(e)
	}
	return fmt.Sprintf("%s element inet %s %s { %s }", verb, table, s.Name, strings.Join(parts, ", "))
}
