package model

import (
	"iter"
	"syscall"

	"github.com/netpol-agent/netpol-agent/internal/render/nft/ruleset"
)

// jumpStackSize is the kernel's NFT_JUMP_STACK_SIZE: a chain may be at most jumpStackSize-1 jumps below a base chain. A
// goto counts like a jump.
const jumpStackSize = 16

// edge is a way that a transaction opened: from a chain to a chain or map, or from a map to a chain.
type edge struct {
	at       *table
	from, to node
}

// checkJumps looks for loops and for too many nested jumps. Both can be new only where a new edge takes part, so it looks
// only at what is above and below the new edges.
func (t *transaction) checkJumps() error {
	walks := map[*table]*walk{}
	for _, e := range t.edges {
		w := walks[e.at]
		if w == nil {
			w = &walk{table: e.at, below: map[node]int{}, above: map[node]int{}}
			walks[e.at] = w
		}
		if _, ok := w.depthBelow(e.to); !ok {
			return t.refuseLoop(w)
		}
	}
	for _, e := range t.edges {
		w := walks[e.at]
		above := w.depthAbove(e.from)
		if above == unreached {
			continue
		}
		below, _ := w.depthBelow(e.to)
		if depth := above + jumps(e.to) + below; depth >= jumpStackSize {
			return refuse(syscall.EMLINK, "%d nested jumps through %q", depth, e.to.name)
		}
	}
	return nil
}

// jumps returns what an edge costs by its end: entering a chain is a jump, looking up a map is none.
func jumps(to node) int {
	if to.isMap {
		return 0
	}
	return 1
}

const (
	unreached = -1 // above: no base chain leads here
	onPath    = -2 // below: being looked at
)

// walk remembers depths of one table's chains and maps. It is valid as long as the table does not change.
type walk struct {
	*table

	below, above map[node]int
	// loop is a node on the loop that depthBelow found.
	loop node
}

// depthBelow returns the greatest number of jumps that can follow in n, and false if n leads back to itself.
func (w *walk) depthBelow(n node) (int, bool) {
	if depth, known := w.below[n]; known {
		if depth == onPath {
			w.loop = n
		}
		return depth, depth != onPath
	}
	w.below[n] = onPath
	depth := 0
	for to := range w.next(n) {
		d, ok := w.depthBelow(to)
		if !ok {
			return 0, false
		}
		depth = max(depth, d+jumps(to))
	}
	w.below[n] = depth
	return depth, true
}

// next yields every chain and map that n leads to.
func (s *table) next(n node) iter.Seq[node] {
	return func(yield func(node) bool) {
		if n.isMap {
			if set := s.rules.Sets[n.name]; set != nil {
				for _, v := range set.Elems {
					if v.Chain != "" && !yield(node{name: v.Chain}) {
						return
					}
				}
			}
			return
		}
		if chain := s.rules.Chains[n.name]; chain != nil {
			for _, r := range chain.Rules {
				for to := range leadsTo(r) {
					if !yield(to) {
						return
					}
				}
			}
		}
	}
}

// leadsTo yields the chain and the maps that a rule leads to.
func leadsTo(r ruleset.Rule) iter.Seq[node] {
	return func(yield func(node) bool) {
		if r.Verdict.Chain != "" && !yield(node{name: r.Verdict.Chain}) {
			return
		}
		for _, m := range r.Matches {
			if f := ruleset.FactsOf(m); f.Verdicts && !yield(node{isMap: true, name: f.Set}) {
				return
			}
		}
	}
}

// depthAbove returns the greatest number of jumps on a way from a base chain to n, or unreached. There must be no loops.
func (w *walk) depthAbove(n node) int {
	if depth, known := w.above[n]; known {
		return depth
	}
	depth := unreached
	if w.isBase(n) {
		depth = 0
	}
	for from := range w.referrers(n) {
		if above := w.depthAbove(from); above != unreached {
			depth = max(depth, above+jumps(n))
		}
	}
	w.above[n] = depth
	return depth
}

func (s *table) isBase(n node) bool {
	c := s.rules.Chains[n.name]
	return !n.isMap && c != nil && c.Hook != nil
}

// referrers counts the references to n by who refers.
func (s *table) referrers(n node) map[node]int {
	if n.isMap {
		return s.setRefs[n.name]
	}
	return s.chainRefs[n.name]
}

// refuseLoop tells a loop that a base chain reaches, which every kernel refuses, from one that only kernels before 6.11
// refuse.
func (t *transaction) refuseLoop(w *walk) error {
	if w.reached(w.loop, map[node]bool{}) {
		return refuse(syscall.EMLINK, "loop through %q", w.loop.name)
	}
	return t.mistake("loop through %q", w.loop.name)
}

// reached reports whether a base chain leads to n, in spite of loops.
func (w *walk) reached(n node, seen map[node]bool) bool {
	if seen[n] {
		return false
	}
	seen[n] = true
	if w.isBase(n) {
		return true
	}
	for from := range w.referrers(n) {
		if w.reached(from, seen) {
			return true
		}
	}
	return false
}
