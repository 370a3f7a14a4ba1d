package arrange

import (
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/test/programs"
)

// words is a layout that writes chains and sets as text: a chain is a string, a set a map of members.
type words struct {
	book  *Book[string, set, program.Member]
	entry map[netip.Addr]string
}

type set map[program.Member]struct{}

func newWords() *words {
	w := &words{entry: map[netip.Addr]string{}}
	w.book = NewBook(w, map[string]*string{}, map[string]*set{})
	return w
}

func (w *words) Judges(a netip.Addr) bool { return a.Is4() }

func (w *words) Tier(u *Unit[string, set], p *program.Program, t *program.Tier, at Position) string {
	name := fmt.Sprintf("%s %d.%d", at.Combination.Meaning, at.Stack, at.Tier)
	text := fmt.Sprintf("%v accept=%s pass=%s", t.Default, at.Accept, at.Pass)
	for _, ref := range t.Policies {
		if p.Policies[ref] != nil {
			u.Jump(PolicyChain{ref, at.Combination.Direction})
			text += " jump " + ref.String()
		}
	}
	u.Add(name, &text)
	return name
}

func (w *words) Policy(p *program.Policy, d program.Direction) Unit[string, set] {
	var u Unit[string, set]
	text := fmt.Sprint(len(p.Rules(d)))
	u.Add(fmt.Sprint(p.Ref, d), &text)
	if n := len(p.Rules(d)); n > 0 {
		u.AddSet(fmt.Sprint("blocks ", n), &set{})
	}
	return u
}

func (w *words) Entry(a netip.Addr, _ *program.Local, to [2]*Combination) {
	delete(w.entry, a)
	for _, c := range to {
		if c != nil {
			w.entry[a] += c.Chain
		}
	}
}

func (w *words) Sets(s *program.Set) map[string]*set { return map[string]*set{string(s.ID): {}} }

func (w *words) Member(_ *set, _ *program.Set, m program.Member) (program.Member, bool) {
	return m, m.Addr.Is4()
}

func (w *words) Put(s *set, m program.Member, in bool) bool {
	if _, had := (*s)[m]; had == in {
		return false
	}
	if delete(*s, m); in {
		(*s)[m] = struct{}{}
	}
	return true
}

// text returns all that the book has made.
func (w *words) text() string {
	chains := map[string]string{}
	for name, c := range w.book.chains {
		chains[name] = *c
	}
	sets := map[string]set{}
	for name, s := range w.book.sets {
		sets[name] = *s
	}
	return fmt.Sprint(chains, sets, w.entry)
}

// program returns a random program of a few policies, tiers, stacks, sets and addresses.
func randomProgram(t *rapid.T) *program.Program {
	p := program.New()
	for i := range 3 {
		if rapid.Bool().Draw(t, "policy") {
			pol := programs.Policy(p, fmt.Sprint("ns/", i))
			pol.Ingress = make([]program.Rule, rapid.IntRange(0, 2).Draw(t, "rules"))
		}
	}
	for _, tiers := range [][]program.Tier{
		{}, {{ID: "0", Policies: programs.Refs("ns/0")}}, {{ID: "01", Policies: programs.Refs("ns/0", "ns/1")}},
		{{ID: "2pass", Policies: programs.Refs("ns/2"), Default: program.Pass}, {ID: "0", Policies: programs.Refs("ns/0")}},
	} {
		if rapid.Bool().Draw(t, "stack") {
			programs.Stack(p, program.StackID(fmt.Sprint("s", len(p.Stacks), tiers)), program.Ingress, tiers...)
		}
	}
	for i := range 3 {
		if id := program.SetID(fmt.Sprint("set", i)); rapid.Bool().Draw(t, "set") {
			p.Sets[id] = &program.Set{ID: id, Members: map[program.Member]struct{}{}}
			for k := range rapid.IntRange(0, 3).Draw(t, "members") {
				p.Sets[id].Members[program.Member{Addr: netip.AddrFrom4([4]byte{10, 1, 0, byte(k)})}] = struct{}{}
			}
		}
		l := &program.Local{}
		for _, id := range slices.Sorted(maps.Keys(p.Stacks)) {
			if rapid.Bool().Draw(t, "judged") {
				l.Ingress = append(l.Ingress, id)
			}
		}
		if rapid.Bool().Draw(t, "local") {
			p.Locals[netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})] = l
		}
	}
	p.Locals[netip.MustParseAddr("fd00::1")] = &program.Local{}
	return p
}

// difference returns exactly the names that differ between two programs.
func difference(prev, next *program.Program) *program.Delta {
	all, d := prev.Everything(), program.NewDelta()
	all.Merge(next.Everything())
	for a := range all.Locals {
		if !reflect.DeepEqual(prev.Locals[a], next.Locals[a]) {
			d.Locals[a] = struct{}{}
		}
	}
	for id := range all.Stacks {
		if !reflect.DeepEqual(prev.Stacks[id], next.Stacks[id]) {
			d.Stacks[id] = struct{}{}
		}
	}
	for ref := range all.Policies {
		if !reflect.DeepEqual(prev.Policies[ref], next.Policies[ref]) {
			d.Policies[ref] = struct{}{}
		}
	}
	for id, members := range all.Sets {
		if reflect.DeepEqual(prev.Sets[id], next.Sets[id]) {
			continue
		}
		changed := d.Set(id)
		for m := range members {
			if has(prev.Sets[id], m) != has(next.Sets[id], m) {
				changed[m] = struct{}{}
			}
		}
	}
	return d
}

func has(s *program.Set, m program.Member) bool {
	if s == nil {
		return false
	}
	_, in := s.Members[m]
	return in
}

// TestStepsEqualAStart goes from one random program to the next. After each step it expects what a new book makes of
// the program, every difference marked, and at the end nothing left.
func TestStepsEqualAStart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, prev := newWords(), program.New()
		for range rapid.IntRange(1, 5).Draw(t, "steps") {
			next := randomProgram(t)
			d := difference(prev, next)
			counts := w.book.CountAfter(next, d)
			chains, sets := maps.Clone(w.book.chains), maps.Clone(w.book.sets)
			w.book.TakeDirty()
			w.book.Apply(next, d)
			fresh := newWords()
			fresh.book.Apply(next, next.Everything())
			if w.text() != fresh.text() {
				t.Fatalf("after the steps:\n%s\nfrom scratch:\n%s", w.text(), fresh.text())
			}
			for a, chain := range w.entry {
				if w.book.chains[chain] == nil {
					t.Fatalf("%s is led to chain %q, which does not exist", a, chain)
				}
			}
			if counts != w.book.counts || counts != (Counts{V4: len(w.book.locals)}) {
				t.Fatalf("%+v addresses were announced, %+v counted, %d known", counts, w.book.counts, len(w.book.locals))
			}
			allMarked(t, w.book.TakeDirty(), chains, sets, w.book)
			prev = next
		}
		w.book.Apply(program.New(), prev.Everything())
		b := w.book
		if n := len(b.chains) + len(b.sets) + len(b.combinations) + len(b.parts) + len(b.byPolicy) + len(b.byStack) +
			len(b.policies) + len(b.setRefs) + len(b.setNames) + len(b.locals); n != 0 {
			t.Fatalf("%d entries are left: %+v", n, b)
		}
	})
}

// allMarked expects that a Dirty names every chain and set that was added, removed or replaced.
func allMarked(t *rapid.T, d *Dirty[program.Member], chains map[string]*string, sets map[string]*set, b *Book[string, set, program.Member]) {
	for name := range chains {
		if _, marked := d.Chains[name]; b.chains[name] != chains[name] && !marked {
			t.Fatalf("chain %s changed and is not marked", name)
		}
	}
	for name := range b.chains {
		if _, marked := d.Chains[name]; chains[name] == nil && !marked {
			t.Fatalf("chain %s is new and not marked", name)
		}
	}
	for name := range sets {
		if _, marked := d.Sets[name]; b.sets[name] != sets[name] && !marked {
			t.Fatalf("set %s changed and is not marked", name)
		}
	}
	for name := range b.sets {
		if _, marked := d.Sets[name]; sets[name] == nil && !marked {
			t.Fatalf("set %s is new and not marked", name)
		}
	}
}

// TestNewSetIsFilledFromItsMembers expects all members in a set that appears, although the delta names none.
func TestNewSetIsFilledFromItsMembers(t *testing.T) {
	w, p, d := newWords(), program.New(), program.NewDelta()
	m := program.Member{Addr: netip.MustParseAddr("10.0.0.1")}
	p.Sets["s"] = &program.Set{ID: "s", Members: map[program.Member]struct{}{m: {}}}
	d.Set("s")
	w.book.Apply(p, d)
	if _, in := (*w.book.sets["s"])[m]; !in {
		t.Errorf("the set has %v, want %v", *w.book.sets["s"], m)
	}
}
