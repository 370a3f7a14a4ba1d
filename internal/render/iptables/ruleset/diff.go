package ruleset

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Plan leads one family from what is installed to what is desired, in four steps.
//
// Chains change in one commit, of which sets cannot be part. So the order keeps every intermediate state at most as open
// as the old or the new one: what a set loses is removed before the chains change, and what it gains is added after. If no
// chain changes, the gains come first, so that an address that moves from one peer to another is not cut off in between.
type Plan struct {
	// Before is a script for ipset restore: new sets, and what is safe before the chains change.
	Before string
	// Restore is a script for iptables-restore --noflush.
	Restore string
	// After is a script for ipset restore: the rest.
	After string
	// Destroy is a script for ipset restore that destroys the sets that no desired rule names. It comes last and affects no
	// packet. The kernel refuses it as long as somebody else's rule names such a set.
	Destroy string
	// Ops counts the chains, jumps and sets that change, Members the members of sets.
	Ops, Members int
}

// Enforced reports whether nothing is left to do that affects a packet.
func (p *Plan) Enforced() bool { return p.Before == "" && p.Restore == "" && p.After == "" }

// Empty reports whether nothing is left to do.
func (p *Plan) Empty() bool { return p.Enforced() && p.Destroy == "" }

// setOptions bound a set. The kernel reserves no memory for maxelem. hashsize is small because most sets are, and the
// kernel doubles it when needed.
const setOptions = "hashsize 64 maxelem 4194304"

// Diff returns what leads from have to want. It compares what dirty names, or everything if it is nil. The jumps from the
// built-in chains are always compared.
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
	for _, name := range slices.Sorted(maps.Keys(dirty.Chains)) {
		c := want.Chains[name]
		old, installed := have.Chains[name]
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

// jumps inserts our jumps where they do not come first, and removes all others that lead to chains of ours.
func (p *Plan) jumps(want *Table, have *State) string {
	wanted := want.Jumps()
	found := map[string][]JumpRule{}
	for chain := range wanted {
		found[chain] = nil
	}
	for _, j := range have.Jumps {
		found[j.Chain] = append(found[j.Chain], j)
	}
	var b strings.Builder
	for _, chain := range slices.Sorted(maps.Keys(found)) {
		rule, is := wanted[chain], found[chain]
		if rule != "" && len(is) == 1 && is[0].Index == 0 && is[0].Rule == rule {
			continue
		}
		// A deletion removes the first equal rule, so delete them all before the one that stays is inserted.
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

// setScripts are the parts that a plan orders.
type setScripts struct{ create, gain, lose, destroy string }

func (p *Plan) sets(want *Table, have *State, dirty *Dirty) setScripts {
	var create, gain, lose, destroy strings.Builder
	for _, name := range slices.Sorted(maps.Keys(dirty.Sets)) {
		set, old := want.Sets[name], have.Sets[name]
		switch {
		case set == nil && old == nil:
		case set == nil:
			fmt.Fprintf(&destroy, "destroy %s\n", name)
		case old == nil || old.Spec != set.spec(want.Family):
			if old != nil {
				// Somebody else's set under our name. No rule of ours can refer to it.
				fmt.Fprintf(&create, "destroy %s\n", name)
			}
			fmt.Fprintf(&create, "create %s %s %s\n", name, set.spec(want.Family), setOptions)
			for _, m := range slices.Sorted(maps.Keys(set.texts())) {
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

// memberChanges returns the members that set has and old lacks, and vice versa. It compares the given members, or all of
// them if members is nil.
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
