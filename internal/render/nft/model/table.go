package model

import (
	"syscall"

	"github.com/netpol-agent/netpol-agent/internal/render/nft/change"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/ruleset"
)

// table is a table's content with what the Model keeps beside it: who refers to what, and the order of intervals.
type table struct {
	rules *ruleset.Ruleset
	// chainRefs counts the rules and map elements that lead to a chain.
	chainRefs refCount
	// setRefs counts the rules that name a set. Their nodes are chains.
	setRefs refCount
	// intervals holds the elements of interval sets in order.
	intervals map[string][]ruleset.Elem
}

func newTable(r *ruleset.Ruleset) *table {
	return &table{rules: r, chainRefs: refCount{}, setRefs: refCount{}, intervals: map[string][]ruleset.Elem{}}
}

// node is a chain, or a verdict map, which stands between the chains that name it and those it leads to.
type node struct {
	isMap bool
	name  string
}

// refCount counts references by what is referred to and by who refers.
type refCount map[string]map[node]int

func (c refCount) add(to string, from node, n int) {
	if c[to] == nil {
		c[to] = map[node]int{}
	}
	c[to][from] += n
	if c[to][from] == 0 {
		delete(c[to], from)
	}
	if len(c[to]) == 0 {
		delete(c, to)
	}
}

// total returns the number of references, and one of those who refer.
func (c refCount) total(to string) (int, node) {
	total, who := 0, node{}
	for from, n := range c[to] {
		total += n
		who = from
	}
	return total, who
}

// countRule adds n to the references from a rule of a chain.
func (s *table) countRule(chain string, r ruleset.Rule, n int) {
	from := node{name: chain}
	if r.Verdict.Chain != "" {
		s.chainRefs.add(r.Verdict.Chain, from, n)
	}
	for _, m := range r.Matches {
		if set := ruleset.FactsOf(m).Set; set != "" {
			s.setRefs.add(set, from, n)
		}
	}
}

// AddChain makes a chain.
func (t *transaction) AddChain(op change.AddChain) error {
	c, chains := op.Chain, t.at.rules.Chains
	if chains[c.Name] != nil {
		return refuse(syscall.EEXIST, "chain %q exists", c.Name)
	}
	if err := t.checkName("chain", c.Name); err != nil {
		return err
	}
	if err := t.checkComment(c.Comment); err != nil {
		return err
	}
	if c.Hook != nil && c.Hook.Point > ruleset.Output && !t.lenient {
		return refuse(syscall.EOPNOTSUPP, "chain %q: hook %d", c.Name, c.Hook.Point)
	}
	chains[c.Name] = c.WithoutRules()
	t.onUndo(func() { delete(chains, c.Name) })
	return nil
}

// DelChain removes a chain.
func (t *transaction) DelChain(op change.DelChain) error {
	s := t.at
	c, err := s.chain(op.Chain)
	if err != nil {
		return err
	}
	if n, who := s.chainRefs.total(op.Chain); n > 0 {
		return refuse(syscall.EBUSY, "%d references to chain %q, one of them from %q", n, op.Chain, who.name)
	}
	if t.held[heldChain{s, op.Chain}] > 0 {
		return refuse(syscall.EBUSY, "this transaction removes a map element that leads to chain %q", op.Chain)
	}
	t.clear(c)
	delete(s.rules.Chains, op.Chain)
	t.onUndo(func() { s.rules.Chains[op.Chain] = c })
	return nil
}

// FlushChain removes a chain's rules.
func (t *transaction) FlushChain(op change.FlushChain) error {
	c, err := t.at.chain(op.Chain)
	if err == nil {
		t.clear(c)
	}
	return err
}

func (s *table) chain(name string) (*ruleset.Chain, error) {
	if c := s.rules.Chains[name]; c != nil {
		return c, nil
	}
	return nil, refuse(syscall.ENOENT, "no chain %q", name)
}

func (t *transaction) clear(c *ruleset.Chain) {
	s, rules := t.at, c.Rules
	for _, r := range rules {
		s.countRule(c.Name, r, -1)
	}
	c.Rules = nil
	t.onUndo(func() {
		c.Rules = rules
		for _, r := range rules {
			s.countRule(c.Name, r, 1)
		}
	})
}

// AddRule appends a rule.
func (t *transaction) AddRule(op change.AddRule) error {
	s := t.at
	c, err := s.chain(op.Chain)
	if err != nil {
		return err
	}
	if err := t.checkRule(op.Rule); err != nil {
		return err
	}
	before := c.Rules
	c.Rules = append(c.Rules, op.Rule)
	s.countRule(c.Name, op.Rule, 1)
	t.onUndo(func() {
		c.Rules = before
		s.countRule(c.Name, op.Rule, -1)
	})
	from := node{name: c.Name}
	for to := range leadsTo(op.Rule) {
		t.edges = append(t.edges, edge{s, from, to})
	}
	return nil
}
