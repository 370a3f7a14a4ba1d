package ruleset

// Tx is a transaction: the kernel takes all of its operations, in order, or none.
type Tx struct{ Ops []Op }

// Empty says whether there is nothing to do.
func (t *Tx) Empty() bool { return t == nil || len(t.Ops) == 0 }

// Add appends operations.
func (t *Tx) Add(ops ...Op) { t.Ops = append(t.Ops, ops...) }

// Op is one operation on one table. The types of this package that implement it are all there are.
type Op interface{ isOp() }

// AddTable makes a table of family inet. It is an error if there is one.
type AddTable struct{ Table, Comment string }

// DelTable removes a table with everything in it.
type DelTable struct{ Table string }

// AddChain makes a chain without rules; Rules of Chain are ignored.
type AddChain struct {
	Table string
	Chain *Chain
}

// DelChain removes a chain that nothing refers to, with its rules.
type DelChain struct{ Table, Chain string }

// FlushChain removes a chain's rules.
type FlushChain struct{ Table, Chain string }

// AddRule appends a rule to a chain.
type AddRule struct {
	Table, Chain string
	Rule         Rule
}

// AddSet makes a set without elements; Elems of Set are ignored.
type AddSet struct {
	Table string
	Set   *Set
}

// DelSet removes a set that nothing refers to, with its elements.
type DelSet struct{ Table, Set string }

// AddElems adds elements that the set does not have. Set describes the set; its Elems are ignored.
type AddElems struct {
	Table string
	Set   *Set
	Elems []ElemVerdict
}

// DelElems removes elements that the set has. Set describes the set; its Elems are ignored.
type DelElems struct {
	Table string
	Set   *Set
	Elems []ElemVerdict
}

// ElemVerdict is an element with its verdict (zero in a set that is no verdict map).
type ElemVerdict struct {
	Elem    Elem
	Verdict Verdict
}

func (AddTable) isOp()   {}
func (DelTable) isOp()   {}
func (AddChain) isOp()   {}
func (DelChain) isOp()   {}
func (FlushChain) isOp() {}
func (AddRule) isOp()    {}
func (AddSet) isOp()     {}
func (DelSet) isOp()     {}
func (AddElems) isOp()   {}
func (DelElems) isOp()   {}
