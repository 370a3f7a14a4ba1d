// Package model imitates the part of the kernel that this project uses: tables that change by transactions, all or
// nothing, and that refuse what the kernel refuses.
//
// The agent uses it to know what is installed: it applies each committed transaction to a Model. Tests use it in the
// kernel's place. It does not decide what is written, and it reads nothing: what it knows it was told.
package model

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"syscall"

	"github.com/netpol-agent/netpol-agent/internal/render/nft/change"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/ruleset"
)

// Model holds tables. Every operation costs what it changes, not what the table holds. A Model is not safe for
// concurrent use.
type Model struct {
	// Tables holds the tables by name. It is to be read only: Load and Apply change it.
	Tables map[string]*ruleset.Ruleset
	// Before62 makes the Model refuse what only kernels before 6.2 refuse: removing a chain in the transaction that
	// removes the map element that leads to it.
	Before62 bool

	state map[string]*table
}

// New returns a Model without tables.
func New() *Model {
	return &Model{Tables: map[string]*ruleset.Ruleset{}, state: map[string]*table{}}
}

// RefusalError is the error of a Model that refuses a transaction.
type RefusalError struct {
	// Op is the index of the operation that was refused, or -1 for the transaction as a whole.
	Op int
	// Text is that operation as a command of the nft tool.
	Text string
	// Errno is the kernel's error, or 0 where the kernel would accept the operation although it is surely a mistake: a
	// rule whose set has keys of another kind, a name that the nft tool cannot read, a loop of chains that no base chain
	// reaches (which kernels before 6.11 refuse).
	Errno syscall.Errno
	// Why is what is wrong, with the name of the object.
	Why string
}

// Error returns all fields on one line.
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

// Unwrap returns the Errno, if there is one.
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

// Load replaces what the Model knows of a table by a copy of r, which was read from the kernel. Load takes everything
// that the kernel can hold. It returns an error for a ruleset that loops or refers to objects that it does not have.
func (m *Model) Load(name string, r *ruleset.Ruleset) error {
	fresh := New()
	t := &transaction{model: fresh, lenient: true}
	if err := t.run(loading(name, r)); err != nil {
		return fmt.Errorf("load table %s: %w", name, err)
	}
	m.Tables[name] = fresh.Tables[name]
	m.state[name] = fresh.state[name]
	return nil
}

// loading returns the operations that make a table with the content of r.
func loading(name string, r *ruleset.Ruleset) []change.Op {
	ops := []change.Op{change.AddTable{Table: name}}
	sets := slices.Sorted(maps.Keys(r.Sets))
	chains := slices.Sorted(maps.Keys(r.Chains))
	for _, s := range sets {
		ops = append(ops, change.AddSet{Table: name, Set: r.Sets[s]})
	}
	for _, c := range chains {
		ops = append(ops, change.AddChain{Table: name, Chain: r.Chains[c]})
	}
	for _, s := range sets {
		ops = append(ops, change.AddElems{Table: name, Set: r.Sets[s], Elems: r.Sets[s].Sorted()})
	}
	for _, c := range chains {
		for _, rule := range r.Chains[c].Rules {
			ops = append(ops, change.AddRule{Table: name, Chain: c, Rule: rule})
		}
	}
	return ops
}

// Apply changes the tables as the transaction says, or leaves them as they are and returns a *RefusalError. Afterwards
// the Model shares rules with the transaction, but no chain, set or slice.
func (m *Model) Apply(tx *change.Tx) error {
	if tx.Empty() {
		return nil
	}
	t := &transaction{model: m}
	err := t.run(tx.Ops)
	if err != nil {
		t.rollBack()
	}
	return err
}

// transaction is a transaction under way. It is the change.Executor of a Model.
type transaction struct {
	model *Model
	// lenient accepts what is merely a mistake, for content read from the kernel.
	lenient bool
	undo    []func()
	edges   []edge
	// at is the table that the current operation is about, nil if there is none.
	at *table
	// held counts the references from map elements that this transaction removed, by chain.
	held map[heldChain]int
}

type heldChain struct {
	at    *table
	chain string
}

func (t *transaction) run(ops []change.Op) error {
	for i, op := range ops {
		if err := t.do(op); err != nil {
			var r *RefusalError
			if errors.As(err, &r) {
				r.Op, r.Text = i, op.String()
			}
			return err
		}
	}
	return t.checkJumps()
}

func (t *transaction) do(op change.Op) error {
	name := change.TableOf(op)
	t.at = t.model.state[name]
	if _, makes := op.(change.AddTable); t.at == nil && !makes {
		return refuse(syscall.ENOENT, "no table %q", name)
	}
	return change.Do(op, t)
}

func (t *transaction) rollBack() {
	for _, f := range slices.Backward(t.undo) {
		f()
	}
}

func (t *transaction) onUndo(f func()) { t.undo = append(t.undo, f) }

// refuse returns the error for what the kernel refuses. Until run knows the operation, it is about the whole.
func refuse(errno syscall.Errno, format string, args ...any) error {
	return &RefusalError{Op: -1, Errno: errno, Why: fmt.Sprintf(format, args...)}
}

// mistake returns the error for what the kernel would accept, but should not.
func (t *transaction) mistake(format string, args ...any) error {
	if t.lenient {
		return nil
	}
	return refuse(0, format, args...)
}

// AddTable makes a table.
func (t *transaction) AddTable(op change.AddTable) error {
	m := t.model
	if t.at != nil {
		return refuse(syscall.EEXIST, "table %q exists", op.Table)
	}
	if err := t.checkName("table", op.Table); err != nil {
		return err
	}
	r := ruleset.New()
	m.Tables[op.Table], m.state[op.Table] = r, newTable(r)
	t.onUndo(func() {
		delete(m.Tables, op.Table)
		delete(m.state, op.Table)
	})
	return nil
}

// DelTable removes a table.
func (t *transaction) DelTable(op change.DelTable) error {
	m, was := t.model, t.at
	delete(m.Tables, op.Table)
	delete(m.state, op.Table)
	t.onUndo(func() { m.Tables[op.Table], m.state[op.Table] = was.rules, was })
	return nil
}
