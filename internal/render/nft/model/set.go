package model

import (
	"net/netip"
	"slices"
	"syscall"

	"github.com/netpol-agent/netpol-agent/internal/render/nft/change"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/ruleset"
)

// AddSet makes a set.
func (t *transaction) AddSet(op change.AddSet) error {
	set, sets := op.Set, t.at.rules.Sets
	if sets[set.Name] != nil {
		return refuse(syscall.EEXIST, "set %q exists", set.Name)
	}
	if err := t.checkName("set", set.Name); err != nil {
		return err
	}
	if err := t.checkComment(set.Comment); err != nil {
		return err
	}
	if err := t.checkSetKind(set); err != nil {
		return err
	}
	sets[set.Name] = set.WithoutElems()
	t.onUndo(func() { delete(sets, set.Name) })
	return nil
}

// DelSet removes a set.
func (t *transaction) DelSet(op change.DelSet) error {
	s := t.at
	set := s.rules.Sets[op.Set]
	if set == nil {
		return refuse(syscall.ENOENT, "no set %q", op.Set)
	}
	if n, who := s.setRefs.total(op.Set); n > 0 {
		return refuse(syscall.EBUSY, "%d references to set %q, one of them from chain %q", n, op.Set, who.name)
	}
	for _, v := range set.Elems {
		t.release(op.Set, v)
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

// AddElems adds elements to a set.
func (t *transaction) AddElems(op change.AddElems) error {
	s := t.at
	set, err := s.set(op.Set)
	if err != nil {
		return err
	}
	for _, e := range op.Elems {
		if err := t.checkElem(set, e); err != nil {
			return err
		}
		if _, exists := set.Elems[e.Elem]; exists {
			return refuse(syscall.EEXIST, "set %q has %s", set.Name, set.KeyText(e.Elem))
		}
		if set.Interval {
			if err := t.addInterval(set, e.Elem); err != nil {
				return err
			}
		}
		set.Elems[e.Elem] = e.Verdict
		t.onUndo(func() { delete(set.Elems, e.Elem) })
		if to := e.Verdict.Chain; to != "" {
			from := node{isMap: true, name: set.Name}
			s.chainRefs.add(to, from, 1)
			t.onUndo(func() { s.chainRefs.add(to, from, -1) })
			t.edges = append(t.edges, edge{s, from, node{name: to}})
		}
	}
	return nil
}

// DelElems removes elements from a set.
func (t *transaction) DelElems(op change.DelElems) error {
	s := t.at
	set, err := s.set(op.Set)
	if err != nil {
		return err
	}
	for _, e := range op.Elems {
		verdict, exists := set.Elems[e.Elem]
		if !exists {
			return s.missing(set, e.Elem)
		}
		if set.Interval {
			s.dropInterval(set.Name, e.Elem)
			t.onUndo(func() { s.putInterval(set.Name, e.Elem) })
		}
		delete(set.Elems, e.Elem)
		t.onUndo(func() { set.Elems[e.Elem] = verdict })
		t.release(set.Name, verdict)
	}
	return nil
}

// missing refuses to remove an element that the set does not have. Of an interval the kernel knows only the two ends, the
// highest address excepted, and removes them even if they are the ends of different intervals.
func (s *table) missing(set *ruleset.Set, e ruleset.Elem) error {
	errno := syscall.ENOENT
	if order := s.intervals[set.Name]; set.Interval {
		_, startExists := findInterval(order, e)
		endExists := isHighest(e.B) || slices.ContainsFunc(order, func(o ruleset.Elem) bool { return o.B == e.B })
		if startExists && endExists {
			errno = 0
		}
	}
	return refuse(errno, "set %q does not have %s", set.Name, set.KeyText(e))
}

// set returns the installed set that an operation on elements describes.
func (s *table) set(described *ruleset.Set) (*ruleset.Set, error) {
	set := s.rules.Sets[described.Name]
	if set == nil {
		return nil, refuse(syscall.ENOENT, "no set %q", described.Name)
	}
	if !set.SameKind(described) {
		return nil, refuse(syscall.EINVAL, "set %q is of another kind", set.Name)
	}
	return set, nil
}

// release drops a map element's reference to the chain that it leads to.
func (t *transaction) release(set string, v ruleset.Verdict) {
	if v.Chain == "" {
		return
	}
	s, from := t.at, node{isMap: true, name: set}
	s.chainRefs.add(v.Chain, from, -1)
	t.onUndo(func() { s.chainRefs.add(v.Chain, from, 1) })
	if t.model.Before62 {
		if t.held == nil {
			t.held = map[heldChain]int{}
		}
		t.held[heldChain{s, v.Chain}]++
	}
}

func (t *transaction) addInterval(set *ruleset.Set, e ruleset.Elem) error {
	s := t.at
	order := s.intervals[set.Name]
	i, _ := findInterval(order, e)
	for _, near := range order[max(i-1, 0):min(i+1, len(order))] {
		if !overlap(e, near) {
			continue
		}
		// The kernel stores no end for an interval up to the highest address and overlooks some overlaps where one is
		// concerned: the new interval, or the last one that the set has.
		if last := order[len(order)-1]; !overlooked(e, near) && !overlooked(e, last) {
			return refuse(syscall.EEXIST, "set %q: %s overlaps %s", set.Name, set.KeyText(e), set.KeyText(near))
		}
		if err := t.mistake("set %q: %s overlaps %s", set.Name, set.KeyText(e), set.KeyText(near)); err != nil {
			return err
		}
	}
	s.putInterval(set.Name, e)
	t.onUndo(func() { s.dropInterval(set.Name, e) })
	return nil
}

func overlap(a, b ruleset.Elem) bool { return !b.B.Less(a.A) && !a.B.Less(b.A) }

// overlooked reports whether the kernel may not notice that a new interval overlaps another.
func overlooked(e, other ruleset.Elem) bool {
	return overlap(e, other) && e.A != other.A && (isHighest(e.B) || isHighest(other.B))
}

// isHighest reports whether a is the last address of its family.
func isHighest(a netip.Addr) bool { return !a.Next().IsValid() }

func (s *table) putInterval(set string, e ruleset.Elem) {
	i, _ := findInterval(s.intervals[set], e)
	s.intervals[set] = slices.Insert(s.intervals[set], i, e)
}

func (s *table) dropInterval(set string, e ruleset.Elem) {
	if i, found := findInterval(s.intervals[set], e); found {
		s.intervals[set] = slices.Delete(s.intervals[set], i, i+1)
	}
}

// findInterval returns where an interval with the start of e stands or would stand.
func findInterval(order []ruleset.Elem, e ruleset.Elem) (int, bool) {
	return slices.BinarySearchFunc(order, e, func(a, b ruleset.Elem) int { return a.A.Compare(b.A) })
}
