package arrange

import (
	"slices"
	"strings"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
)

// Combination is the stacks that judge one or more addresses in one direction. The addresses share its chains.
type Combination struct {
	Direction program.Direction
	Stacks    []program.StackID
	// Meaning spells the combination out. Names of chains follow from it, so that they survive restarts.
	Meaning string
	// Chain is the name of the chain where the combination begins to judge.
	Chain string
	// Policies are those of all tiers, from the last to the first, which is the order in which their chains are made.
	Policies []program.PolicyRef

	key   combinationKey
	tiers [][]*program.Tier
	// refs counts the addresses that are led here.
	refs int
}

// combinationKey identifies a combination. IDs of stacks hold no line break.
type combinationKey struct {
	d      program.Direction
	stacks string
}

func keyOf(d program.Direction, stacks []program.StackID) combinationKey {
	if len(stacks) == 1 {
		return combinationKey{d, string(stacks[0])}
	}
	parts := make([]string, len(stacks))
	for i, s := range stacks {
		parts[i] = string(s)
	}
	return combinationKey{d, strings.Join(parts, "\n")}
}

// Position is where a tier stands in a combination, and where a connection goes from there.
type Position struct {
	Combination *Combination
	// Stack and Tier count from 0, top down.
	Stack, Tier int
	// Accept and Pass name the chain that judges next if the tier accepts or passes. They are empty where nothing is
	// left to be judged in this direction: the connection is accepted.
	Accept, Pass string
}

// Entry reports whether the tier is the first to judge.
func (at Position) Entry() bool { return at.Stack == 0 && at.Tier == 0 }

// acquire returns the combination of the stacks and counts one more address; nil if there are no stacks.
func (b *Book[C, S, E]) acquire(d program.Direction, stacks []program.StackID, p *program.Program) *Combination {
	if len(stacks) == 0 {
		return nil
	}
	key := keyOf(d, stacks)
	c := b.combinations[key]
	if c == nil {
		c = &Combination{Direction: d, Stacks: slices.Clone(stacks), key: key}
		b.combinations[key] = c
		b.render(c, p)
	}
	c.refs++
	return c
}

// release takes back one acquire.
func (b *Book[C, S, E]) release(c *Combination, p *program.Program) {
	if c == nil {
		return
	}
	if c.refs--; c.refs > 0 {
		return
	}
	delete(b.combinations, c.key)
	b.unlink(c)
	b.swap(p, b.parts[c], Unit[C, S]{})
	delete(b.parts, c)
}

// render renders a combination anew.
func (b *Book[C, S, E]) render(c *Combination, p *program.Program) {
	b.unlink(c)
	c.read(p)
	b.link(c)
	next := b.spellOut(c, p)
	b.swap(p, b.parts[c], next)
	b.parts[c] = next
}

// read takes from the program what the combination consists of.
func (c *Combination) read(p *program.Program) {
	c.tiers, c.Policies = make([][]*program.Tier, len(c.Stacks)), nil
	meaning := []string{c.Direction.String()}
	for i, id := range c.Stacks {
		c.tiers[i] = p.TiersOf(id)
		meaning = append(meaning, stackMeaning(c.Direction, c.tiers[i]))
	}
	c.Meaning = strings.Join(meaning, "\n")
	for _, t := range slices.Backward(slices.Concat(c.tiers...)) {
		c.Policies = append(c.Policies, t.Policies...)
	}
}

// stackMeaning writes a stack of one tier that denies by default as "ingress:namespace/a,namespace/b". Names of
// namespaces and policies hold none of the separators.
func stackMeaning(d program.Direction, tiers []*program.Tier) string {
	var text strings.Builder
	text.WriteString(d.String() + ":")
	for i, t := range tiers {
		if i > 0 {
			text.WriteByte(';')
		}
		for k, ref := range t.Policies {
			if k > 0 {
				text.WriteByte(',')
			}
			if ref.Kind != program.NetworkPolicy {
				text.WriteString(ref.Kind.String() + " ")
			}
			text.WriteString(ref.String())
		}
		if t.Default != program.Deny || len(t.Policies) == 0 {
			text.WriteString(" " + t.Default.String())
		}
	}
	return text.String()
}

// spellOut returns the chains of the combination: one for each tier of each stack. They are made from the last to the
// first, because each leads on to the next. A stack's accept leads to the next stack, so that all must accept.
func (b *Book[C, S, E]) spellOut(c *Combination, p *program.Program) Unit[C, S] {
	var u Unit[C, S]
	accept := ""
	for i := len(c.Stacks) - 1; i >= 0; i-- {
		tiers := c.tiers[i]
		if len(tiers) == 0 {
			tiers = []*program.Tier{{Default: program.Accept}} // nothing isolates
		}
		next := accept
		for n := len(tiers) - 1; n >= 0; n-- {
			next = b.spell.Tier(&u, p, tiers[n], Position{Combination: c, Stack: i, Tier: n, Accept: accept, Pass: next})
		}
		accept = next
	}
	c.Chain = accept
	return u
}

// IsolatedBy names policies in the comment of what they isolate.
func IsolatedBy(refs []program.PolicyRef) string {
	parts := make([]string, len(refs))
	for i, ref := range refs {
		parts[i] = ref.String()
	}
	return "isolated by " + strings.Join(parts, ", ")
}

// links finds combinations by what they depend on.
type links[K comparable] map[K]map[*Combination]struct{}

func (l links[K]) add(k K, c *Combination) {
	if l[k] == nil {
		l[k] = map[*Combination]struct{}{}
	}
	l[k][c] = struct{}{}
}

func (l links[K]) remove(k K, c *Combination) {
	delete(l[k], c)
	if len(l[k]) == 0 {
		delete(l, k)
	}
}

func (l links[K]) collect(k K, into map[*Combination]struct{}) {
	for c := range l[k] {
		into[c] = struct{}{}
	}
}

func (b *Book[C, S, E]) link(c *Combination) {
	for _, id := range c.Stacks {
		b.byStack.add(id, c)
	}
	for _, ref := range c.Policies {
		b.byPolicy.add(ref, c)
	}
}

func (b *Book[C, S, E]) unlink(c *Combination) {
	for _, id := range c.Stacks {
		b.byStack.remove(id, c)
	}
	for _, ref := range c.Policies {
		b.byPolicy.remove(ref, c)
	}
}
