// Package change says how the content of a table is changed: the operations of which transactions consist, the
// transactions that lead from one ruleset to another, and how they may be cut.
//
// It does not decide what the rules should be (package layout), what the kernel refuses (package model), how an
// operation is written to the kernel (package kernel), or when to commit.
package change

import "strings"

// Tx is a transaction: the kernel carries out all of its operations, in order, or none.
type Tx struct{ Ops []Op }

// Empty reports whether there is nothing to do.
func (t *Tx) Empty() bool { return t == nil || len(t.Ops) == 0 }

// Add appends operations.
func (t *Tx) Add(ops ...Op) { t.Ops = append(t.Ops, ops...) }

// String returns the transaction as a script for the nft tool that does the same, with one operation a line. It is for
// logs and tests; the agent itself talks to the kernel without the tool.
func (t *Tx) String() string {
	if t == nil {
		return ""
	}
	var b strings.Builder
	for _, op := range t.Ops {
		b.WriteString(op.String() + "\n")
	}
	return b.String()
}

// Cost measures a transaction by the work that it makes for the kernel: one for each message, which is an operation,
// and one for each element. The kernel takes some microseconds for each, and all of its netfilter changes wait
// meanwhile.
func (t *Tx) Cost() int {
	if t == nil {
		return 0
	}
	cost := len(t.Ops)
	for _, op := range t.Ops {
		if o, ok := op.(elemOp); ok {
			cost += len(o.elems())
		}
	}
	return cost
}
