package ruleset

// Prepare splits a change that Diff made, to be committed in order. first makes the chains and sets that are new, with
// their content, which no packet can meet before rest is committed; it is empty if rest needs nothing of the kind.
//
// It is needed because the kernel is not as atomic as its transactions are:
//
//   - It follows a packet through the rules of the generation at which the packet entered the base chain, but looks
//     elements up in the generation of the moment. A packet that is on its way while a transaction commits can find a
//     new element that leads to a chain of the same transaction, whose rules it does not see: it falls off the chain's
//     end, and passes.
//   - It shows the elements of an interval set some time after the rules of the same transaction. A packet meanwhile
//     finds the set of a new rule empty, and is lost.
//
// Where elements lead, and what rules look up, must have been there one transaction before.
func Prepare(change *Tx) (first, rest *Tx) {
	p := preparation{chains: map[string]bool{}, sets: map[string]bool{}}
	if !p.needed(change) {
		return nil, change
	}
	first, rest = &Tx{}, &Tx{}
	for _, op := range change.Ops {
		if p.isNew(op) {
			first.Add(op)
		} else {
			rest.Add(op)
		}
	}
	return first, rest
}

// preparation holds the names of chains and sets that a change makes.
type preparation struct{ chains, sets map[string]bool }

// needed says whether a new set is filled, or a new element leads to a new chain. A change that makes anew what is
// already there, under the same name, cannot be split; it repairs what a foreign hand did.
func (p *preparation) needed(change *Tx) bool {
	if change.Empty() {
		return false
	}
	needed := false
	for _, op := range change.Ops {
		switch op := op.(type) {
		case AddTable, DelTable, DelChain, DelSet:
			return false
		case AddSet:
			p.sets[op.Set.Name] = true
		case AddChain:
			if op.Chain.Hook != nil {
				return false
			}
			p.chains[op.Chain.Name] = true
		case AddElems:
			needed = needed || p.sets[op.Set.Name] || p.leadsToNew(op)
		}
	}
	return needed
}

func (p *preparation) leadsToNew(op AddElems) bool {
	for _, e := range op.Elems {
		if p.chains[e.Verdict.Chain] {
			return true
		}
	}
	return false
}

// isNew says whether an operation makes or fills what is new.
func (p *preparation) isNew(op Op) bool {
	switch op := op.(type) {
	case AddSet, AddChain:
		return true
	case AddRule:
		return p.chains[op.Chain]
	case AddElems:
		return p.sets[op.Set.Name]
	}
	return false
}
