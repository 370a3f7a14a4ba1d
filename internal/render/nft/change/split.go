package change

// Split cuts a transaction into parts of at most limit each (see Tx.Cost; a limit below 2 counts as 2), to be committed
// in order. It is for transactions whose parts no packet can notice before the last one, such as one that fills a table
// without base chains: the parts are not atomic as a whole. Operations on many elements are cut as well.
func Split(t *Tx, limit int) []*Tx {
	if t.Empty() {
		return nil
	}
	s := splitter{limit: max(limit, 2)}
	for _, op := range t.Ops {
		s.add(op)
	}
	return append(s.parts, &s.part)
}

type splitter struct {
	limit int
	parts []*Tx
	part  Tx
	cost  int
}

func (s *splitter) add(op Op) {
	o, ok := op.(elemOp)
	if !ok || len(o.elems()) == 0 {
		s.push(op, 1)
		return
	}
	for elems := o.elems(); len(elems) > 0; {
		if s.cost+2 > s.limit {
			s.cut()
		}
		n := min(len(elems), s.limit-s.cost-1)
		s.push(o.with(elems[:n:n]), 1+n)
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
	part := s.part
	s.parts = append(s.parts, &part)
	s.part, s.cost = Tx{}, 0
}
