package change

// Prepare splits an update that Diff returned into two transactions, to be committed in order. first makes the chains
// and sets that are new, with their content, which no packet can meet before rest is committed. first is empty if rest
// needs nothing of the kind.
//
// The kernel is not as atomic as its transactions:
//
//   - A packet follows the rules of the generation in which it entered the base chain, but looks elements up in the
//     current generation. If a transaction commits while the packet is on its way, the packet can find a new element that
//     leads to a chain of the same transaction, whose rules it does not see: it falls off the chain's end, and passes.
//   - The elements of an interval set appear some time after the rules of the same transaction. A packet in between finds
//     the set of a new rule empty, and is lost.
//
// So what elements lead to and what rules look up must have been there one transaction before.
func Prepare(update *Tx) (first, rest *Tx) {
	p := preparation{chains: map[string]bool{}, sets: map[string]bool{}}
	if !p.needed(update) {
		return nil, update
	}
	first, rest = &Tx{}, &Tx{}
	for _, op := range update.Ops {
		if p.isNew(op) {
			first.Add(op)
		} else {
			rest.Add(op)
		}
	}
	return first, rest
}

// preparation holds the names of the chains and sets that an update makes.
type preparation struct{ chains, sets map[string]bool }

// needed reports whether a new set is filled, or a new element leads to a new chain. An update that makes an existing
// object anew, under the same name, cannot be split; it repairs what somebody else did.
func (p *preparation) needed(update *Tx) bool {
	if update.Empty() {
		return false
	}
	needed := false
	for _, op := range update.Ops {
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

// isNew reports whether an operation makes or fills what is new.
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
