package change

import (
	"fmt"
	"strings"

	"github.com/netpol-agent/netpol-agent/internal/render/nft/ruleset"
)

// Op is one operation on one table. No other types than those of this package implement it.
type Op interface {
	// String returns the operation as a command of the nft tool.
	String() string
	table() string
	summary() string
	do(Executor) error
}

// Executor carries out operations: the model does so in memory, and package kernel writes them as messages.
type Executor interface {
	AddTable(AddTable) error
	DelTable(DelTable) error
	AddChain(AddChain) error
	DelChain(DelChain) error
	FlushChain(FlushChain) error
	AddRule(AddRule) error
	AddSet(AddSet) error
	DelSet(DelSet) error
	AddElems(AddElems) error
	DelElems(DelElems) error
}

// Do calls the method of e that carries out op.
func Do(op Op, e Executor) error { return op.do(e) }

// TableOf returns the name of the table that op is about.
func TableOf(op Op) string { return op.table() }

// Summary returns op and its object in a few words.
func Summary(op Op) string { return op.summary() }

// AddTable makes a table of family inet. The table must not exist.
type AddTable struct{ Table, Comment string }

func (o AddTable) table() string       { return o.Table }
func (o AddTable) summary() string     { return "add table " + o.Table }
func (o AddTable) do(e Executor) error { return e.AddTable(o) }
func (o AddTable) String() string {
	return "create table inet " + o.Table + block(ruleset.CommentStatement(o.Comment))
}

// DelTable removes a table with everything in it.
type DelTable struct{ Table string }

func (o DelTable) table() string       { return o.Table }
func (o DelTable) summary() string     { return "delete table " + o.Table }
func (o DelTable) do(e Executor) error { return e.DelTable(o) }
func (o DelTable) String() string      { return "delete table inet " + o.Table }

// AddChain makes a chain without rules. The Rules of Chain are ignored.
type AddChain struct {
	Table string
	Chain *ruleset.Chain
}

func (o AddChain) table() string       { return o.Table }
func (o AddChain) summary() string     { return "add chain " + o.Chain.Name }
func (o AddChain) do(e Executor) error { return e.AddChain(o) }
func (o AddChain) String() string {
	return fmt.Sprintf("create chain inet %s %s%s", o.Table, o.Chain.Name, block(o.Chain.Statements()))
}

// DelChain removes a chain with its rules. Nothing may refer to the chain.
type DelChain struct{ Table, Chain string }

func (o DelChain) table() string       { return o.Table }
func (o DelChain) summary() string     { return "delete chain " + o.Chain }
func (o DelChain) do(e Executor) error { return e.DelChain(o) }
func (o DelChain) String() string      { return fmt.Sprintf("delete chain inet %s %s", o.Table, o.Chain) }

// FlushChain removes a chain's rules.
type FlushChain struct{ Table, Chain string }

func (o FlushChain) table() string       { return o.Table }
func (o FlushChain) summary() string     { return "flush chain " + o.Chain }
func (o FlushChain) do(e Executor) error { return e.FlushChain(o) }
func (o FlushChain) String() string      { return fmt.Sprintf("flush chain inet %s %s", o.Table, o.Chain) }

// AddRule appends a rule to a chain.
type AddRule struct {
	Table, Chain string
	Rule         ruleset.Rule
}

func (o AddRule) table() string       { return o.Table }
func (o AddRule) do(e Executor) error { return e.AddRule(o) }
func (o AddRule) String() string {
	return fmt.Sprintf("add rule inet %s %s %s", o.Table, o.Chain, o.Rule)
}
func (o AddRule) summary() string {
	if o.Rule.Comment == "" {
		return "add rule in chain " + o.Chain
	}
	return fmt.Sprintf("add rule in chain %s (%s)", o.Chain, o.Rule.Comment)
}

// AddSet makes a set without elements. The Elems of Set are ignored.
type AddSet struct {
	Table string
	Set   *ruleset.Set
}

func (o AddSet) table() string       { return o.Table }
func (o AddSet) summary() string     { return "add set " + o.Set.Name }
func (o AddSet) do(e Executor) error { return e.AddSet(o) }
func (o AddSet) String() string {
	return fmt.Sprintf("create %s inet %s %s%s", o.Set.Keyword(), o.Table, o.Set.Name, block(o.Set.Statements()))
}

// DelSet removes a set with its elements. Nothing may refer to the set.
type DelSet struct{ Table, Set string }

func (o DelSet) table() string       { return o.Table }
func (o DelSet) summary() string     { return "delete set " + o.Set }
func (o DelSet) do(e Executor) error { return e.DelSet(o) }
func (o DelSet) String() string      { return fmt.Sprintf("delete set inet %s %s", o.Table, o.Set) }

// AddElems adds elements that the set does not have. Set describes the set; its Elems are ignored.
type AddElems struct {
	Table string
	Set   *ruleset.Set
	Elems []ruleset.ElemVerdict
}

func (o AddElems) table() string       { return o.Table }
func (o AddElems) summary() string     { return "add " + countElems(o.Elems) + " of set " + o.Set.Name }
func (o AddElems) do(e Executor) error { return e.AddElems(o) }
func (o AddElems) String() string {
	return elemsText("create", o.Table, o.Set, o.Elems, o.Set.ElemText)
}

// DelElems removes elements that the set has. Set describes the set; its Elems are ignored.
type DelElems struct {
	Table string
	Set   *ruleset.Set
	Elems []ruleset.ElemVerdict
}

func (o DelElems) table() string       { return o.Table }
func (o DelElems) summary() string     { return "delete " + countElems(o.Elems) + " of set " + o.Set.Name }
func (o DelElems) do(e Executor) error { return e.DelElems(o) }
func (o DelElems) String() string {
	key := func(e ruleset.ElemVerdict) string { return o.Set.KeyText(e.Elem) }
	return elemsText("delete", o.Table, o.Set, o.Elems, key)
}

// elemOp is an operation on elements.
type elemOp interface {
	elems() []ruleset.ElemVerdict
	// with returns the operation on these elements instead.
	with([]ruleset.ElemVerdict) Op
}

func (o AddElems) elems() []ruleset.ElemVerdict        { return o.Elems }
func (o DelElems) elems() []ruleset.ElemVerdict        { return o.Elems }
func (o AddElems) with(elems []ruleset.ElemVerdict) Op { o.Elems = elems; return o }
func (o DelElems) with(elems []ruleset.ElemVerdict) Op { o.Elems = elems; return o }

// block returns statements as what follows the name in a command, and nothing if there are none.
func block(statements []string) string {
	if len(statements) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString(" {")
	for _, s := range statements {
		b.WriteString(" " + strings.TrimSuffix(s, ";") + ";")
	}
	b.WriteString(" }")
	return b.String()
}

func elemsText(verb, table string, s *ruleset.Set, elems []ruleset.ElemVerdict, text func(ruleset.ElemVerdict) string) string {
	parts := make([]string, len(elems))
	for i, e := range elems {
		parts[i] = text(e)
	}
	return fmt.Sprintf("%s element inet %s %s { %s }", verb, table, s.Name, strings.Join(parts, ", "))
}

func countElems(elems []ruleset.ElemVerdict) string {
	if len(elems) == 1 {
		return "element " + elems[0].Elem.A.String()
	}
	return fmt.Sprintf("%d elements", len(elems))
}
