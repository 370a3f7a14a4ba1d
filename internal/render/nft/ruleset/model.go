package ruleset

import (
	"fmt"
	"syscall"
)

// Model is a fake kernel: tables that change by transactions, all or nothing, and that refuse what the kernel
// refuses. Tests use it in the kernel's place. The agent uses it to know what is installed: after each
// successful commit the same transaction is applied to it.
//
// Every operation costs what it changes, not what the table holds. A Model is not safe for concurrent use.
type Model struct {
	// Tables by name. They are to be read only: Load and Apply change them.
	Tables map[string]*Ruleset
	// HoldMapTargets makes the Model refuse what kernels before 6.2 refuse besides: to remove a chain in the
	// transaction that removes the map element which leads to it.
	HoldMapTargets bool

	state map[string]*tableState
}

// NewModel gives a Model without tables.
func NewModel() *Model {
	return &Model{Tables: map[string]*Ruleset{}, state: map[string]*tableState{}}
}

// RefusalError is the error of a Model that refuses a transaction.
type RefusalError struct {
	// Op is the index of the operation that was refused, or -1 for the transaction as a whole.
	Op int
	// Text is that operation as a command of the nft tool.
	Text string
	// Errno is the kernel's error, or 0 where the kernel would accept the operation although it is surely a
	// mistake: a rule whose set has keys of another kind, a name that the nft tool cannot read, a loop of chains
	// that no base chain reaches (which kernels before 6.11 refuse).
	Errno syscall.Errno
	// Why says what is wrong, with the name of the object.
	Why string
}

// Error gives all fields.
func (r *RefusalError) Error() string {
	kind := "not as this project means it"
	if r.Errno != 0 {
		kind = r.Errno.Error()
	}
	if r.Op < 0 {
		return fmt.Sprintf("transaction refused: %s: %s", r.Why, kind)
	}
	return fmt.Sprintf("operation %d (%s) refused: %s: %s", r.Op, shorten(r.Text), r.Why, kind)
}

// Unwrap gives the Errno, if there is one.
func (r *RefusalError) Unwrap() error {
	if r.Errno == 0 {
		return nil
	}
	return r.Errno
}

// shorten keeps a log line readable when an operation has thousands of elements.
func shorten(s string) string {
	const most = 300
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}

// Load makes r the content of a table, as after reading it from the kernel, in place of what the Model knew of
// that table. r is copied. Load takes everything that the kernel can hold; what it refuses with an error is a
// ruleset that refers to objects which it does not have, or that loops.
func (m *Model) Load(table string, r *Ruleset) error {
	fresh := NewModel()
	tx := &txState{model: fresh, lenient: true}
	if err := tx.load(table, r); err != nil {
		return fmt.Errorf("load table %s: %w", table, err)
	}
	m.Tables[table] = fresh.Tables[table]
	m.state[table] = fresh.state[table]
	return nil
}

func (t *txState) load(table string, r *Ruleset) error {
	ops := []Op{AddTable{Table: table}}
	for _, name := range sortedKeys(r.Sets) {
		ops = append(ops, AddSet{table, r.Sets[name]})
	}
	for _, name := range sortedKeys(r.Chains) {
		ops = append(ops, AddChain{table, r.Chains[name]})
	}
	for _, name := range sortedKeys(r.Sets) {
		if elems := r.Sets[name].sortedElems(); len(elems) > 0 {
			ops = append(ops, AddElems{table, r.Sets[name], elems})
		}
	}
	for _, name := range sortedKeys(r.Chains) {
		for _, rule := range r.Chains[name].Rules {
			ops = append(ops, AddRule{table, name, rule})
		}
	}
	return t.run(ops)
}

// Apply changes the tables as the transaction says, or leaves them as they are and gives a *RefusalError. The Model
// then shares rules with the transaction, but no chain, set or slice.
func (m *Model) Apply(tx *Tx) error {
	if tx.Empty() {
		return nil
	}
	t := &txState{model: m}
	if err := t.run(tx.Ops); err != nil {
		t.rollBack()
		return err
	}
	return nil
}

// txState is a transaction under way.
type txState struct {
	model *Model
	// lenient takes what is merely a mistake: for content read from the kernel.
	lenient bool
	undo    []func()
	edges   []edge
	// held counts, for HoldMapTargets, the chains that removed map elements of this transaction led to.
	held map[tableChain]int
}

type tableChain struct{ table, chain string }

func (t *txState) run(ops []Op) error {
	for i, op := range ops {
		if r := t.apply(op); r != nil {
			r.Op, r.Text = i, OpText(op)
			return r
		}
	}
	if r := t.checkJumps(); r != nil {
		r.Op = -1
		return r
	}
	return nil
}

func (t *txState) rollBack() {
	for i := len(t.undo) - 1; i >= 0; i-- {
		t.undo[i]()
	}
}

func (t *txState) onUndo(f func()) { t.undo = append(t.undo, f) }

// refuse says that the kernel refuses.
func refuse(errno syscall.Errno, format string, args ...any) *RefusalError {
	return &RefusalError{Errno: errno, Why: fmt.Sprintf(format, args...)}
}

// mistake says that the kernel would not refuse, but that it should.
func (t *txState) mistake(format string, args ...any) *RefusalError {
	if t.lenient {
		return nil
	}
	return refuse(0, format, args...)
}

func (t *txState) apply(op Op) *RefusalError {
	switch op := op.(type) {
	case AddTable:
		return t.addTable(op)
	case DelTable:
		return t.delTable(op)
	}
	s, name := t.tableOf(op)
	if s == nil {
		return refuse(syscall.ENOENT, "no table %q", name)
	}
	switch op := op.(type) {
	case AddChain:
		return t.addChain(s, op)
	case DelChain:
		return t.delChain(s, op)
	case FlushChain:
		return t.flushChain(s, op)
	case AddRule:
		return t.addRule(s, op)
	case AddSet:
		return t.addSet(s, op)
	case DelSet:
		return t.delSet(s, op)
	case AddElems:
		return t.addElems(s, op)
	case DelElems:
		return t.delElems(s, op)
	}
	return refuse(syscall.EOPNOTSUPP, "unknown operation %T", op)
}

func (t *txState) tableOf(op Op) (*tableState, string) {
	name := ""
	switch op := op.(type) {
	case AddChain:
		name = op.Table
	case DelChain:
		name = op.Table
	case FlushChain:
		name = op.Table
	case AddRule:
		name = op.Table
	case AddSet:
		name = op.Table
	case DelSet:
		name = op.Table
	case AddElems:
		name = op.Table
	case DelElems:
		name = op.Table
	}
	return t.model.state[name], name
}

func (t *txState) addTable(op AddTable) *RefusalError {
	m := t.model
	if m.Tables[op.Table] != nil {
		return refuse(syscall.EEXIST, "table %q is there", op.Table)
	}
	if r := t.checkName("table", op.Table); r != nil {
		return r
	}
	r := New()
	m.Tables[op.Table], m.state[op.Table] = r, newTableState(r)
	t.onUndo(func() {
		delete(m.Tables, op.Table)
		delete(m.state, op.Table)
	})
	return nil
}

func (t *txState) delTable(op DelTable) *RefusalError {
	m := t.model
	rules, state := m.Tables[op.Table], m.state[op.Table]
	if rules == nil {
		return refuse(syscall.ENOENT, "no table %q", op.Table)
	}
	delete(m.Tables, op.Table)
	delete(m.state, op.Table)
	t.onUndo(func() { m.Tables[op.Table], m.state[op.Table] = rules, state })
	return nil
}

func (t *txState) checkName(kind, name string) *RefusalError {
	if name == "" || len(name) > 255 {
		return refuse(syscall.EINVAL, "%s name of %d bytes", kind, len(name))
	}
	if !validName(name) {
		return t.mistake("the nft tool cannot read the %s name %q", kind, name)
	}
	return nil
}
