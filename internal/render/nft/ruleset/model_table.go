package ruleset

import (
	"net/netip"
	"slices"
	"syscall"
)

// tableState is what the Model keeps beside a table's content: who refers to what, and the order of intervals.
type tableState struct {
	rules *Ruleset
	// chainRefs counts the rules and map elements that lead to a chain.
	chainRefs refCount
	// setRefs counts the rules that name a set. Their nodes are chains.
	setRefs refCount
	// intervals holds the elements of interval sets in order.
	intervals map[string][]Elem
}

// node is a chain, or a verdict map as it stands between a chain that names it and those it leads to.
type node struct {
	isMap bool
	name  string
}

// refCount counts references by what is referred to and by who refers.
type refCount map[string]map[node]int

func (c refCount) add(to string, from node, n int) {
	if c[to] == nil {
		c[to] = map[node]int{}
	}
	c[to][from] += n
	if c[to][from] == 0 {
		delete(c[to], from)
	}
	if len(c[to]) == 0 {
		delete(c, to)
	}
}

// total is the number of references, and one of those who refer.
func (c refCount) total(to string) (int, node) {
	total, who := 0, node{}
	for from, n := range c[to] {
		total += n
		who = from
	}
	return total, who
}

func newTableState(r *Ruleset) *tableState {
	return &tableState{rules: r, chainRefs: refCount{}, setRefs: refCount{}, intervals: map[string][]Elem{}}
}

func (t *txState) addChain(s *tableState, op AddChain) *RefusalError {
	c := op.Chain
	if s.rules.Chains[c.Name] != nil {
		return refuse(syscall.EEXIST, "chain %q is there", c.Name)
	}
	if r := t.checkName("chain", c.Name); r != nil {
		return r
	}
	if r := t.checkComment(c.Comment); r != nil {
		return r
	}
	if c.Hook != nil && c.Hook.Point != Forward && c.Hook.Point != Output && !t.lenient {
		return refuse(syscall.EOPNOTSUPP, "chain %q: hook %d", c.Name, c.Hook.Point)
	}
	s.rules.Chains[c.Name] = c.cloneEmpty()
	t.onUndo(func() { delete(s.rules.Chains, c.Name) })
	return nil
}

func (t *txState) delChain(s *tableState, op DelChain) *RefusalError {
	c := s.rules.Chains[op.Chain]
	if c == nil {
		return refuse(syscall.ENOENT, "no chain %q", op.Chain)
	}
	if n, who := s.chainRefs.total(op.Chain); n > 0 {
		return refuse(syscall.EBUSY, "%d references to chain %q, one of them from %q", n, op.Chain, who.name)
	}
	if t.held[tableChain{op.Table, op.Chain}] > 0 {
		return refuse(syscall.EBUSY, "this transaction removes a map element that leads to chain %q", op.Chain)
	}
	t.clear(s, c)
	delete(s.rules.Chains, op.Chain)
	t.onUndo(func() { s.rules.Chains[op.Chain] = c })
	return nil
}

func (t *txState) flushChain(s *tableState, op FlushChain) *RefusalError {
	c := s.rules.Chains[op.Chain]
	if c == nil {
		return refuse(syscall.ENOENT, "no chain %q", op.Chain)
	}
	t.clear(s, c)
	return nil
}

func (t *txState) clear(s *tableState, c *Chain) {
	rules := c.Rules
	for _, r := range rules {
		s.countRule(c.Name, r, -1)
	}
	c.Rules = nil
	t.onUndo(func() {
		c.Rules = rules
		for _, r := range rules {
			s.countRule(c.Name, r, 1)
		}
	})
}

func (t *txState) addRule(s *tableState, op AddRule) *RefusalError {
	c := s.rules.Chains[op.Chain]
	if c == nil {
		return refuse(syscall.ENOENT, "no chain %q", op.Chain)
	}
	if r := t.checkRule(s, op.Rule); r != nil {
		return r
	}
	before := c.Rules
	c.Rules = append(c.Rules, op.Rule)
	s.countRule(c.Name, op.Rule, 1)
	t.onUndo(func() {
		c.Rules = before
		s.countRule(c.Name, op.Rule, -1)
	})
	if target := op.Rule.Verdict.Chain; target != "" {
		t.newEdge(s, node{name: c.Name}, node{name: target})
	}
	for _, m := range op.Rule.Matches {
		if use, ok := setUseOf(m); ok && use.verdicts {
			t.newEdge(s, node{name: c.Name}, node{isMap: true, name: use.name})
		}
	}
	return nil
}

func (s *tableState) countRule(chain string, r Rule, n int) {
	from := node{name: chain}
	if r.Verdict.Chain != "" {
		s.chainRefs.add(r.Verdict.Chain, from, n)
	}
	for _, m := range r.Matches {
		if use, ok := setUseOf(m); ok {
			s.setRefs.add(use.name, from, n)
		}
	}
}

func (t *txState) addSet(s *tableState, op AddSet) *RefusalError {
	set := op.Set
	if s.rules.Sets[set.Name] != nil {
		return refuse(syscall.EEXIST, "set %q is there", set.Name)
	}
	if r := t.checkName("set", set.Name); r != nil {
		return r
	}
	if r := t.checkComment(set.Comment); r != nil {
		return r
	}
	if r := t.checkSetKind(set); r != nil {
		return r
	}
	s.rules.Sets[set.Name] = set.cloneEmpty()
	t.onUndo(func() { delete(s.rules.Sets, set.Name) })
	return nil
}

func (t *txState) delSet(s *tableState, op DelSet) *RefusalError {
	set := s.rules.Sets[op.Set]
	if set == nil {
		return refuse(syscall.ENOENT, "no set %q", op.Set)
	}
	if n, who := s.setRefs.total(op.Set); n > 0 {
		return refuse(syscall.EBUSY, "%d references to set %q, one of them from chain %q", n, op.Set, who.name)
	}
	for _, v := range set.Elems {
		t.release(s, op.Table, op.Set, v)
	}
	order := s.intervals[op.Set]
	delete(s.rules.Sets, op.Set)
	delete(s.intervals, op.Set)
	t.onUndo(func() {
		s.rules.Sets[op.Set] = set
		if order != nil {
			s.intervals[op.Set] = order
		}
	})
	return nil
}

func (t *txState) addElems(s *tableState, op AddElems) *RefusalError {
	set, r := t.setFor(s, op.Set)
	if r != nil {
		return r
	}
	for _, e := range op.Elems {
		if r := t.checkElem(s, set, e); r != nil {
			return r
		}
		if _, there := set.Elems[e.Elem]; there {
			return refuse(syscall.EEXIST, "set %q has %s", set.Name, set.keyText(e.Elem))
		}
		if set.Interval {
			if r := t.addInterval(s, set, e.Elem); r != nil {
				return r
			}
		}
		set.Elems[e.Elem] = e.Verdict
		t.onUndo(func() { delete(set.Elems, e.Elem) })
		if target := e.Verdict.Chain; target != "" {
			from := node{isMap: true, name: set.Name}
			s.chainRefs.add(target, from, 1)
			t.onUndo(func() { s.chainRefs.add(target, from, -1) })
			t.newEdge(s, from, node{name: target})
		}
	}
	return nil
}

func (t *txState) delElems(s *tableState, op DelElems) *RefusalError {
	set, r := t.setFor(s, op.Set)
	if r != nil {
		return r
	}
	for _, e := range op.Elems {
		verdict, there := set.Elems[e.Elem]
		if !there {
			return s.missing(set, e.Elem)
		}
		if set.Interval {
			t.delInterval(s, set, e.Elem)
		}
		delete(set.Elems, e.Elem)
		t.onUndo(func() { set.Elems[e.Elem] = verdict })
		t.release(s, op.Table, set.Name, verdict)
	}
	return nil
}

// missing refuses to remove an element that is not there. Of an interval the kernel knows only the two ends, the
// highest address excepted, and removes them even if they are those of different intervals.
func (s *tableState) missing(set *Set, e Elem) *RefusalError {
	errno := syscall.ENOENT
	if order := s.intervals[set.Name]; set.Interval {
		_, startThere := slices.BinarySearchFunc(order, e, compareStart)
		endThere := isHighest(e.B) || slices.ContainsFunc(order, func(o Elem) bool { return o.B == e.B })
		if startThere && endThere {
			errno = 0
		}
	}
	return refuse(errno, "set %q does not have %s", set.Name, set.keyText(e))
}

// setFor gives the installed set that an operation on elements describes.
func (t *txState) setFor(s *tableState, described *Set) (*Set, *RefusalError) {
	set := s.rules.Sets[described.Name]
	if set == nil {
		return nil, refuse(syscall.ENOENT, "no set %q", described.Name)
	}
	if !sameSetKind(set, described) {
		return nil, refuse(syscall.EINVAL, "set %q is of another kind", set.Name)
	}
	return set, nil
}

// release drops a map element's reference to the chain that it leads to.
func (t *txState) release(s *tableState, table, set string, v Verdict) {
	if v.Chain == "" {
		return
	}
	from := node{isMap: true, name: set}
	s.chainRefs.add(v.Chain, from, -1)
	t.onUndo(func() { s.chainRefs.add(v.Chain, from, 1) })
	if t.model.HoldMapTargets {
		if t.held == nil {
			t.held = map[tableChain]int{}
		}
		t.held[tableChain{table, v.Chain}]++
	}
}

func (t *txState) addInterval(s *tableState, set *Set, e Elem) *RefusalError {
	order := s.intervals[set.Name]
	i, _ := slices.BinarySearchFunc(order, e, compareStart)
	for _, near := range order[max(i-1, 0):min(i+1, len(order))] {
		if near.B.Less(e.A) || e.B.Less(near.A) {
			continue
		}
		// The kernel stores no end for an interval up to the highest address and overlooks some overlaps where one
		// is concerned: the new one, or the last one that the set has.
		if last := order[len(order)-1]; !overlooked(e, near) && !overlooked(e, last) {
			return refuse(syscall.EEXIST, "set %q: %s overlaps %s", set.Name, set.keyText(e), set.keyText(near))
		}
		if r := t.mistake("set %q: %s overlaps %s", set.Name, set.keyText(e), set.keyText(near)); r != nil {
			return r
		}
	}
	s.intervals[set.Name] = slices.Insert(order, i, e)
	t.onUndo(func() { s.dropInterval(set.Name, e) })
	return nil
}

// overlooked says whether the kernel may not notice that a new interval overlaps another.
func overlooked(e, other Elem) bool {
	overlap := !other.B.Less(e.A) && !e.B.Less(other.A)
	return overlap && e.A != other.A && (isHighest(e.B) || isHighest(other.B))
}

// isHighest says whether a is the last address of its family.
func isHighest(a netip.Addr) bool { return !a.Next().IsValid() }

func (t *txState) delInterval(s *tableState, set *Set, e Elem) {
	s.dropInterval(set.Name, e)
	t.onUndo(func() {
		order := s.intervals[set.Name]
		i, _ := slices.BinarySearchFunc(order, e, compareStart)
		s.intervals[set.Name] = slices.Insert(order, i, e)
	})
}

func (s *tableState) dropInterval(set string, e Elem) {
	order := s.intervals[set]
	if i, found := slices.BinarySearchFunc(order, e, compareStart); found {
		s.intervals[set] = slices.Delete(order, i, i+1)
	}
}

func compareStart(a, b Elem) int { return a.A.Compare(b.A) }
