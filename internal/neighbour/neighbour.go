// Package neighbour finds out which other engines enforce NetworkPolicy in this network namespace, or did so and left rules.
//
// It decides which engine a name in the kernel belongs to: the name of an nftables table or chain (including those that
// iptables-nft creates), of an ipset or of an interface. It reads names only, never rules or members, so that a look is
// cheap whatever the others have written. It does not decide what follows from a finding, and changes nothing: what it
// finds belongs to others.
//
// It does not see engines that work in eBPF alone and create no interface (the AWS VPC CNI's policy agent), and not the
// chains of legacy iptables, which the kernel returns only as a copy of the whole table. Engines that use the latter also
// use ipsets, which it sees.
package neighbour

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Chain is an nftables chain.
type Chain struct {
	// Family is written as nft does: ip, ip6, inet, bridge, arp or netdev.
	Family, Table, Name string
}

// Names holds the names of what is in a network namespace.
type Names struct {
	Chains []Chain
	IPSets []string
	Links  []string
}

// Finding is an engine that is present, or was and left something.
type Finding struct {
	Engine Engine
	// Says is what else the engine is known by. It may be empty.
	Says string
	// Evidence is the names by which the engine was recognised: the first of each kind in order, so that the same names
	// yield the same words.
	Evidence []string
}

// String returns the finding as a log line shows it.
func (f Finding) String() string {
	name := string(f.Engine)
	if f.Says != "" {
		name += " (" + f.Says + ")"
	}
	return name + ": " + strings.Join(f.Evidence, ", ")
}

// Find returns the engines to which the names belong, sorted by name.
func Find(n Names) []Finding {
	var out []Finding
	for i := range signatures {
		s := &signatures[i]
		if evidence := s.evidence(&n); len(evidence) > 0 {
			out = append(out, Finding{Engine: s.engine, Says: s.says, Evidence: evidence})
		}
	}
	slices.SortFunc(out, func(a, b Finding) int { return cmp.Compare(a.Engine, b.Engine) })
	return out
}

func (s *signature) evidence(n *Names) []string {
	var tables, chains []string
	for _, c := range n.Chains {
		switch {
		case matches(s.tables, c.Table):
			tables = append(tables, fmt.Sprintf("table %s %s", c.Family, c.Table))
		case matches(s.chains, c.Name):
			chains = append(chains, fmt.Sprintf("chain %s in table %s %s", c.Name, c.Family, c.Table))
		}
	}
	var out []string
	for _, kind := range [][]string{tables, chains, named("ipset", s.ipsets, n.IPSets), named("interface", s.links, n.Links)} {
		if len(kind) > 0 {
			out = append(out, slices.Min(kind))
		}
	}
	return out
}

func named(kind string, patterns, names []string) []string {
	var out []string
	for _, name := range names {
		if matches(patterns, name) {
			out = append(out, kind+" "+name)
		}
	}
	return out
}

// matches reports whether a name is one of the patterns, or has the prefix of one that ends in "*".
func matches(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		if prefix, ok := strings.CutSuffix(p, "*"); ok {
			return strings.HasPrefix(name, prefix)
		}
		return p == name
	})
}
