package ruleset

// Cost measures a transaction by what the kernel does for it: one for each message, that is operation, and one
// for each element. The kernel takes some microseconds for each, and all of its netfilter changes wait meanwhile.
func (t *Tx) Cost() int {
	if t == nil {
		return 0
	}
	cost := 0
	for _, op := range t.Ops {
		cost += 1 + len(elemsOf(op))
	}
	return cost
}

// Split cuts a transaction into parts of at most limit each (see Cost; a limit below 2 counts as 2), to be
// committed in order. It is for transactions whose parts no packet can notice before the last one, as when a
// table without base chains is filled: what is atomic as a whole is not so in parts. Operations on many
// elements are cut as well.
func Split(t *Tx, limit int) []*Tx {
	if t.Empty() {
		return nil
	}
	s := splitter{limit: max(limit, 2)}
	for _, op := range t.Ops {
		s.add(op)
	}
	s.cut()
	return s.parts
}

type splitter struct {
	limit int
	parts []*Tx
	part  Tx
	cost  int
}

func (s *splitter) add(op Op) {
	elems := elemsOf(op)
	if len(elems) == 0 {
		s.push(op, 1)
		return
	}
	for len(elems) > 0 {
		if s.cost+2 > s.limit {
			s.cut()
		}
		n := min(len(elems), s.limit-s.cost-1)
		s.push(withElems(op, elems[:n:n]), 1+n)
		elems = elems[n:]
	}
}

func (s *splitter) push(op Op, cost int) {
	if s.cost+cost > s.limit {
		s.cut()
	}
	s.part.Add(op)
	s.cost += cost
}

func (s *splitter) cut() {
	if len(s.part.Ops) == 0 {
		return
	}
	s.parts = append(s.parts, &Tx{Ops: s.part.Ops})
	s.part, s.cost = Tx{}, 0
}

func elemsOf(op Op) []ElemVerdict {
	switch op := op.(type) {
	case AddElems:
		return op.Elems
	case DelElems:
		return op.Elems
	}
	return nil
}

func withElems(op Op, elems []ElemVerdict) Op {
	switch op := op.(type) {
	case AddElems:
		op.Elems = elems
		return op
	case DelElems:
		op.Elems = elems
		return op
	}
	return op
}
