package ruleset

import "syscall"

// jumpStackSize is the kernel's NFT_JUMP_STACK_SIZE: a chain may stand at most jumpStackSize-1 jumps below a
// base chain. A goto counts like a jump.
const jumpStackSize = 16

// edge is a way that a transaction opened: from a chain to a chain or map, or from a map to a chain.
type edge struct {
	state    *tableState
	from, to node
}

func (t *txState) newEdge(s *tableState, from, to node) {
	t.edges = append(t.edges, edge{s, from, to})
}

// checkJumps looks for loops and for too many jumps on top of each other. Both can only be new where a new edge
// takes part, so only what lies above and below the new edges is looked at.
func (t *txState) checkJumps() *RefusalError {
	walks := map[*tableState]*walk{}
	for _, e := range t.edges {
		w := walks[e.state]
		if w == nil {
			w = &walk{s: e.state, below: map[node]int{}, above: map[node]int{}}
			walks[e.state] = w
		}
		if _, ok := w.depthBelow(e.to); !ok {
			return t.loopRefusal(w)
		}
	}
	for _, e := range t.edges {
		w := walks[e.state]
		above := w.depthAbove(e.from)
		if above == unreached {
			continue
		}
		below, _ := w.depthBelow(e.to)
		if depth := above + jumps(e.to) + below; depth >= jumpStackSize {
			return refuse(syscall.EMLINK, "%d jumps on top of each other through %q", depth, e.to.name)
		}
	}
	return nil
}

// jumps counts an edge by its end: to enter a chain is a jump, to look up a map is none.
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
	s            *tableState
	below, above map[node]int
	// loop is a node on the loop that depthBelow met.
	loop node
}

// depthBelow is the greatest number of jumps that can follow in n, and false if n leads back to itself.
func (w *walk) depthBelow(n node) (int, bool) {
	if depth, known := w.below[n]; known {
		if depth == onPath {
			w.loop = n
			return 0, false
		}
		return depth, true
	}
	w.below[n] = onPath
	depth, ok := 0, true
	w.s.eachTarget(n, func(to node) bool {
		var d int
		if d, ok = w.depthBelow(to); ok {
			depth = max(depth, d+jumps(to))
		}
		return ok
	})
	if ok {
		w.below[n] = depth
	}
	return depth, ok
}

// eachTarget calls f for every chain and map that n leads to, until f is false.
func (s *tableState) eachTarget(n node, f func(node) bool) {
	if n.isMap {
		set := s.rules.Sets[n.name]
		if set == nil {
			return
		}
		for _, v := range set.Elems {
			if v.Chain != "" && !f(node{name: v.Chain}) {
				return
			}
		}
		return
	}
	chain := s.rules.Chains[n.name]
	if chain == nil {
		return
	}
	for _, r := range chain.Rules {
		if r.Verdict.Chain != "" && !f(node{name: r.Verdict.Chain}) {
			return
		}
		for _, m := range r.Matches {
			if use, ok := setUseOf(m); ok && use.verdicts && !f(node{isMap: true, name: use.name}) {
				return
			}
		}
	}
}

// depthAbove is the greatest number of jumps on a way from a base chain to n, or unreached. There are no loops.
func (w *walk) depthAbove(n node) int {
	if depth, known := w.above[n]; known {
		return depth
	}
	depth := unreached
	refs := w.s.chainRefs[n.name]
	if n.isMap {
		refs = w.s.setRefs[n.name]
	} else if c := w.s.rules.Chains[n.name]; c != nil && c.Hook != nil {
		depth = 0
	}
	for from := range refs {
		if above := w.depthAbove(from); above != unreached {
			depth = max(depth, above+jumps(n))
		}
	}
	w.above[n] = depth
	return depth
}

// loopRefusal tells a loop that a base chain reaches, which every kernel refuses, from one that only kernels
// before 6.11 refuse.
func (t *txState) loopRefusal(w *walk) *RefusalError {
	if w.reached(w.loop, map[node]bool{}) {
		return refuse(syscall.EMLINK, "loop through %q", w.loop.name)
	}
	return t.mistake("loop through %q", w.loop.name)
}

// reached says whether a base chain leads to n, in spite of loops.
func (w *walk) reached(n node, seen map[node]bool) bool {
	if seen[n] {
		return false
	}
	seen[n] = true
	refs := w.s.chainRefs[n.name]
	if n.isMap {
		refs = w.s.setRefs[n.name]
	} else if c := w.s.rules.Chains[n.name]; c != nil && c.Hook != nil {
		return true
	}
	for from := range refs {
		if w.reached(from, seen) {
			return true
		}
	}
	return false
}
