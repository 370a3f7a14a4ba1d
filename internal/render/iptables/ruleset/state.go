package ruleset

// State is what one family has installed of ours, as text.
type State struct {
	// Chains holds the rules of our chains, in canonical text without the chain's name.
	Chains map[string][]string
	// Jumps holds the rules in others' chains that lead to ours.
	Jumps []JumpRule
	Sets  map[string]*SetState
}

// JumpRule is a rule in a chain that is not ours.
type JumpRule struct {
	Chain string
	// Index is the rule's position in its chain, from 0.
	Index int
	Rule  string
}

// SetState is one installed set.
type SetState struct {
	// Spec is type and family, as in "hash:ip family inet".
	Spec    string
	Members map[string]struct{}
}

// NewState returns the state of a family in which nothing is ours.
func NewState() *State {
	return &State{Chains: map[string][]string{}, Sets: map[string]*SetState{}}
}

// Take records that what dirty names, or everything if it is nil, is installed as the table has it.
func (s *State) Take(t *Table, dirty *Dirty) {
	if dirty == nil {
		dirty = everything(t, s)
	}
	for name := range dirty.Chains {
		if c := t.Chains[name]; c != nil {
			s.Chains[name] = c.lines()
		} else {
			delete(s.Chains, name)
		}
	}
	s.Jumps = nil
	for chain, rule := range t.Jumps() {
		s.Jumps = append(s.Jumps, JumpRule{Chain: chain, Rule: rule})
	}
	for name, members := range dirty.Sets {
		set, old := t.Sets[name], s.Sets[name]
		switch {
		case set == nil:
			delete(s.Sets, name)
		case old == nil || members == nil:
			s.Sets[name] = &SetState{Spec: set.spec(t.Family), Members: set.texts()}
		default:
			for m := range members {
				if _, has := set.Members[m]; has {
					old.Members[set.Type.text(m)] = struct{}{}
				} else {
					delete(old.Members, set.Type.text(m))
				}
			}
		}
	}
}
