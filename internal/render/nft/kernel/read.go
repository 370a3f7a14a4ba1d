package kernel

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netpol-agent/netpol-agent/internal/render/nft/ruleset"
)

// Read returns the content of a table of family inet at one moment, and false if there is no such table.
//
// What this package would not have written is marked, so that it equals nothing that a layout wants: a rule has a
// ruleset.Foreign match alone, a base chain has the hook point ruleset.ForeignHook, a set is of ruleset.ForeignType and
// has no elements. Read leaves out anonymous sets and chains, which vanish with the rule that uses them, comments of
// elements, counters, and objects that no rule of ours can refer to. If the table as a whole does not do what its rules
// say, errors.Is(err, ErrForeignTable).
func (c *Conn) Read(table string) (*ruleset.Ruleset, bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var rs *ruleset.Ruleset
	err := retryRead(func() error {
		// The generation is read first: a commit that begins after the wait raises it once more.
		before, err := c.generation()
		if err != nil {
			return err
		}
		if err := c.settle(); err != nil {
			return err
		}
		r := newTableReader(c, table)
		readErr := r.read()
		after, err := c.generation()
		switch {
		case err != nil:
			return err
		case before != after:
			return errInterrupted
		}
		rs = r.rs
		return readErr
	})
	if errors.Is(err, errNoTable) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("read table %s: %w", table, err)
	}
	return rs, true, nil
}

// settle waits until the transaction that last raised the generation has been carried out.
//
// The kernel raises the generation first and then replaces the content, so a read in between finds a mixture under one
// generation: for example, the rules of a table that was replaced under its name are missing. Commits hold a lock. A batch
// without operations waits for that lock, and raises no generation.
func (c *Conn) settle() error {
	b := newBatch(c.out, c.seq+1)
	b.finishUnanswered()
	c.seq, c.out = b.next, b.b
	if err := c.sock.send(b.b); err != nil {
		return fmt.Errorf("wait for other transactions: %w", err)
	}
	return nil
}

var errNoTable = errors.New("no such table")

// tableReader reads one table once.
type tableReader struct {
	conn  *Conn
	table string
	rs    *ruleset.Ruleset
	exprs exprReader
	// hiddenChains and hiddenSets name what is left out. A rule that uses it is foreign.
	hiddenChains, hiddenSets map[string]bool
	prog                     []instr
}

func newTableReader(c *Conn, table string) *tableReader {
	return &tableReader{
		conn: c, table: table, rs: ruleset.New(), exprs: exprReader{names: map[string]string{}},
		hiddenChains: map[string]bool{}, hiddenSets: map[string]bool{},
	}
}

func (r *tableReader) read() error {
	if err := r.readTable(); err != nil {
		return err
	}
	filter := func(typ uint16) func(*writer) {
		return func(w *writer) { w.str(typ, r.table) }
	}
	// The kernel cannot filter the chain dump by table.
	if err := r.conn.request(unix.NFT_MSG_GETCHAIN, unix.NLM_F_DUMP, nil, r.chain); err != nil {
		return fmt.Errorf("chains: %w", err)
	}
	if err := r.conn.request(unix.NFT_MSG_GETSET, unix.NLM_F_DUMP, filter(unix.NFTA_SET_TABLE), r.set); err != nil {
		return fmt.Errorf("sets: %w", err)
	}
	if err := r.conn.request(unix.NFT_MSG_GETRULE, unix.NLM_F_DUMP, filter(unix.NFTA_RULE_TABLE), r.rule); err != nil {
		return fmt.Errorf("rules: %w", err)
	}
	for _, s := range r.rs.Sets {
		if s.Type == ruleset.ForeignType {
			continue
		}
		if err := r.elems(s); err != nil {
			return fmt.Errorf("set %s: %w", s.Name, err)
		}
	}
	return nil
}

// readTable checks that the table exists and works.
func (r *tableReader) readTable() error {
	var flags uint32
	name := func(w *writer) { w.str(unix.NFTA_TABLE_NAME, r.table) }
	err := r.conn.request(unix.NFT_MSG_GETTABLE, 0, name, func(body []byte) error {
		for typ, val := range attributes(body) {
			if typ == unix.NFTA_TABLE_FLAGS {
				flags = u32(val)
			}
		}
		return nil
	})
	switch {
	case errors.Is(err, unix.ENOENT):
		return errNoTable
	case err != nil:
		return err
	case flags != 0:
		return fmt.Errorf("%w (flags %#x)", ErrForeignTable, flags)
	}
	return nil
}

func (r *tableReader) chain(body []byte) error {
	ch := &ruleset.Chain{}
	var table, hookType string
	var hook []byte
	var flags, policy uint32
	for typ, val := range attributes(body) {
		switch typ {
		case unix.NFTA_CHAIN_TABLE:
			table = r.exprs.intern(val)
		case unix.NFTA_CHAIN_NAME:
			ch.Name = r.exprs.intern(val)
		case unix.NFTA_CHAIN_HOOK:
			hook = val
		case unix.NFTA_CHAIN_TYPE:
			hookType = r.exprs.intern(val)
		case unix.NFTA_CHAIN_POLICY:
			policy = u32(val)
		case attrChainFlags:
			flags = u32(val)
		case attrChainUserdata:
			ch.Comment = cString(udata(val, udataComment))
		}
	}
	if table != r.table {
		return nil
	}
	if flags&chainBinding != 0 {
		r.hiddenChains[ch.Name] = true
		return nil
	}
	if hook != nil {
		ch.Hook = readHook(hook)
		if hookType != chainType || policy != netfilterAccept || flags&^chainBase != 0 {
			ch.Hook.Point = ruleset.ForeignHook
		}
	}
	r.rs.Chains[ch.Name] = ch
	return nil
}

// Flags of NFTA_CHAIN_FLAGS.
const (
	chainBase    = 1 // set by the kernel on every base chain
	chainBinding = 4 // the chain belongs to a rule, as anonymous sets do
)

func readHook(b []byte) *ruleset.Hook {
	h := &ruleset.Hook{Point: ruleset.ForeignHook}
	for typ, val := range attributes(b) {
		switch typ {
		case unix.NFTA_HOOK_HOOKNUM:
			for _, p := range []ruleset.HookPoint{ruleset.Forward, ruleset.Output} {
				if n, ok := hookNumber(p); ok && n == u32(val) {
					h.Point = p
				}
			}
		case unix.NFTA_HOOK_PRIORITY:
			h.Priority = int32(u32(val))
		}
	}
	return h
}

func (r *tableReader) rule(body []byte) error {
	var table, chain string
	var exprs, data []byte
	for typ, val := range attributes(body) {
		switch typ {
		case unix.NFTA_RULE_TABLE:
			table = r.exprs.intern(val)
		case unix.NFTA_RULE_CHAIN:
			chain = r.exprs.intern(val)
		case unix.NFTA_RULE_EXPRESSIONS:
			exprs = val
		case unix.NFTA_RULE_USERDATA:
			data = val
		}
	}
	if table != r.table || r.hiddenChains[chain] {
		return nil
	}
	ch := r.rs.Chains[chain]
	if ch == nil {
		return errInterrupted
	}
	prog, err := r.exprs.read(exprs, r.prog[:0])
	r.prog = prog
	if err == nil && r.usesHidden(prog) {
		err = errNotOurs
	}
	var rule ruleset.Rule
	if err == nil {
		rule, err = decodeRule(prog, data)
	}
	if err != nil {
		rule = ruleset.Rule{
			Matches: []ruleset.Match{ruleset.Foreign{Note: err.Error()}},
			Comment: cString(udata(data, udataComment)),
		}
	}
	ch.Rules = append(ch.Rules, rule)
	return nil
}

func (r *tableReader) usesHidden(prog []instr) bool {
	for k := range prog {
		hidden := r.hiddenSets
		if prog[k].op == opVerdict {
			hidden = r.hiddenChains
		}
		if hidden[prog[k].name] {
			return true
		}
	}
	return false
}

func (r *tableReader) set(body []byte) error {
	for typ, val := range attributes(body) {
		if typ == unix.NFTA_SET_TABLE && cString(val) != r.table {
			return nil
		}
	}
	s, hidden := readSet(body)
	if hidden {
		r.hiddenSets[s.Name] = true
		return nil
	}
	r.rs.Sets[s.Name] = s
	return nil
}

// elemAttempts is how often the elements of a set are read before the whole table is read again.
const elemAttempts = 10

// elems reads the elements of a set. If this package would not have written one of them, the set as a whole is foreign.
//
// The kernel resizes a hash table some time after the transaction that filled it. A dump counts elements to know where to
// go on, so if a resize rearranges them meanwhile, it misses some elements and returns others twice. No flag reports
// that; the duplicates do.
func (r *tableReader) elems(s *ruleset.Set) error {
	for k := range elemAttempts {
		e := &elemReader{exprs: &r.exprs, set: s}
		err := r.conn.request(unix.NFT_MSG_GETSETELEM, unix.NLM_F_DUMP, func(w *writer) {
			w.str(unix.NFTA_SET_ELEM_LIST_TABLE, r.table)
			w.str(unix.NFTA_SET_ELEM_LIST_SET, s.Name)
		}, e.message)
		switch {
		case errors.Is(err, unix.ENOENT):
			return errInterrupted
		case err != nil:
			return err
		}
		if e.finish() {
			return nil
		}
		clear(s.Elems)
		<-time.After(time.Duration(k) * time.Millisecond)
	}
	return errInterrupted
}

// elemReader collects the elements of one set.
type elemReader struct {
	exprs   *exprReader
	set     *ruleset.Set
	bounds  []rawElem // of intervals
	keys    int       // elements that are no bounds; duplicates count
	foreign bool
}

func (e *elemReader) message(body []byte) error {
	for typ, list := range attributes(body) {
		if typ != unix.NFTA_SET_ELEM_LIST_ELEMENTS {
			continue
		}
		for _, elem := range attributes(list) {
			raw, err := e.exprs.readElem(e.set, elem)
			switch {
			case err != nil:
				e.foreign = true
			case e.set.Interval:
				e.bounds = append(e.bounds, raw)
			default:
				e.set.Elems[raw.key] = raw.verdict
				e.keys++
			}
		}
	}
	return nil
}

// finish completes the set. It returns false if the set must be read again.
func (e *elemReader) finish() bool {
	if !e.foreign && e.keys != len(e.set.Elems) {
		return false
	}
	if e.foreign || putIntervals(e.set, e.bounds) != nil {
		e.set.Type = ruleset.ForeignType
		clear(e.set.Elems)
	}
	return true
}
