package ruleset

import (
	"fmt"
	"slices"
	"strings"
)

// Plan leads one family from what is installed to what is desired, in four steps. Chains change in one commit;
// sets cannot be part of it, so the order keeps every state in between at most as open as the old or the new
// one: what a set loses goes before the chains change and what it gains comes after. If no chain changes, the
// gains come first, so that an address that moves from one peer to another is not cut off in between.
type Plan struct {
	// Before is a script for ipset restore: new sets and what is safe before the chains change.
	Before string
	// Restore is a script for iptables-restore --noflush.
	Restore string
	// After is a script for ipset restore: the rest.
	After string
	// Destroy is a script for ipset restore: the end of sets that no rule of the desired ones names. It comes last
	// and decides over no packet; the kernel refuses it as long as a stranger's rule names such a set.
	Destroy string
	// Ops counts the chains, jumps and sets that change, Members the members of sets, Gone the sets that end.
	Ops, Members, Gone int
}

// Enforced says whether nothing is to do that a packet could notice.
func (p *Plan) Enforced() bool { return p.Before == "" && p.Restore == "" && p.After == "" }

// Empty says whether there is nothing to do.
func (p *Plan) Empty() bool { return p.Enforced() && p.Destroy == "" }

// setOptions bound a set; the kernel sets nothing aside for it. The initial size is small because most sets are,
// and the kernel doubles it when needed.
const setOptions = "hashsize 64 maxelem 4194304"

// Diff compares what dirty names, or everything if it is nil. The jumps from the built-in chains are always
// compared.
func Diff(want *Table, have *State, dirty *Dirty) *Plan {
	if dirty == nil {
		dirty = everything(want, have)
	}
	p := &Plan{}
	p.Restore = p.restore(want, have, dirty)
	s := p.sets(want, have, dirty)
	switch {
	case p.Restore == "":
		p.Before = s.create + s.gain + s.lose
	default:
		p.Before = s.create + s.lose
		p.After = s.gain
	}
	p.Destroy = s.destroy
	return p
}

func (p *Plan) restore(want *Table, have *State, dirty *Dirty) string {
	var declare, rules, gone strings.Builder
	for _, name := range sortedKeys(dirty.Chains) {
		c, old := want.Chains[name], have.Chains[name]
		_, installed := have.Chains[name]
		switch {
		case c == nil && !installed:
			continue
		case c == nil:
			fmt.Fprintf(&gone, "-X %s\n", name)
		default:
			lines := c.lines()
			if installed && slices.Equal(lines, old) {
				continue
			}
			for _, line := range lines {
				fmt.Fprintf(&rules, "-A %s %s\n", name, line)
			}
		}
		fmt.Fprintf(&declare, ":%s - [0:0]\n", name)
		p.Ops++
	}
	jumps := p.jumps(want, have)
	if declare.Len() == 0 && jumps == "" {
		return ""
	}
	return "*filter\n" + declare.String() + rules.String() + jumps + gone.String() + "COMMIT\n"
}

// jumps puts our jumps first where they are not, and removes all others that lead to chains of ours.
func (p *Plan) jumps(want *Table, have *State) string {
	wanted := want.Jumps()
	found := map[string][]JumpRule{}
	for _, j := range have.Jumps {
		found[j.Chain] = append(found[j.Chain], j)
	}
	for chain := range wanted {
		found[chain] = append([]JumpRule(nil), found[chain]...)
	}
	var b strings.Builder
	for _, chain := range sortedKeys(found) {
		rule, is := wanted[chain], found[chain]
		if rule != "" && len(is) == 1 && is[0].Index == 0 && is[0].Rule == rule {
			continue
		}
		// A deletion takes the first rule that is alike, so all go before the one that stays comes.
		for _, j := range is {
			fmt.Fprintf(&b, "-D %s %s\n", chain, j.Rule)
			p.Ops++
		}
		if rule != "" {
			fmt.Fprintf(&b, "-I %s 1 %s\n", chain, rule)
			p.Ops++
		}
	}
	return b.String()
}

// setScripts are the parts that a plan puts in order.
type setScripts struct{ create, gain, lose, destroy string }

func (p *Plan) sets(want *Table, have *State, dirty *Dirty) setScripts {
	var create, gain, lose, destroy strings.Builder
	for _, name := range sortedKeys(dirty.Sets) {
		set, old := want.Sets[name], have.Sets[name]
		switch {
		case set == nil && old == nil:
		case set == nil:
			fmt.Fprintf(&destroy, "destroy %s\n", name)
			p.Gone++
		case old == nil || old.Spec != set.spec(want.Family):
			if old != nil {
				// A stranger's set under our name. No rule of ours can refer to it.
				fmt.Fprintf(&create, "destroy %s\n", name)
			}
			fmt.Fprintf(&create, "create %s %s %s\n", name, set.spec(want.Family), setOptions)
			for _, m := range sortedKeys(set.texts()) {
				fmt.Fprintf(&create, "add %s %s\n", name, m)
			}
			p.Ops++
			p.Members += len(set.Members)
		default:
			added, removed := memberChanges(set, old, dirty.Sets[name])
			for _, m := range added {
				fmt.Fprintf(&gain, "add %s %s\n", name, m)
			}
			for _, m := range removed {
				fmt.Fprintf(&lose, "del %s %s\n", name, m)
			}
			p.Members += len(added) + len(removed)
			if len(added)+len(removed) > 0 {
				p.Ops++
			}
		}
	}
	return setScripts{create.String(), gain.String(), lose.String(), destroy.String()}
}

// memberChanges compares the members that are named, or all of them if members is nil.
func memberChanges(set *Set, old *SetState, members map[Member]struct{}) (added, removed []string) {
	if members == nil {
		now := set.texts()
		for m := range now {
			if _, had := old.Members[m]; !had {
				added = append(added, m)
			}
		}
		for m := range old.Members {
			if _, has := now[m]; !has {
				removed = append(removed, m)
			}
		}
	}
	for m := range members {
		text := set.Type.text(m)
		_, had := old.Members[text]
		_, has := set.Members[m]
		switch {
		case has && !had:
			added = append(added, text)
		case had && !has:
			removed = append(removed, text)
		}
	}
	slices.Sort(added)
	slices.Sort(removed)
	return added, removed
}

// Take notes that what dirty names, or everything if it is nil, is installed as the table has it.
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
