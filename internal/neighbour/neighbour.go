// Package neighbour tells which other engines enforce NetworkPolicy in this network namespace, or have left what
// they enforced with.
//
// It decides what a name in the kernel says about who made it: tables and chains of nftables (those that
// iptables-nft makes among them), ipsets, and interfaces. It reads names only, never rules or members, so that a
// look costs little whatever the others have written. It does not decide what follows from a finding, and changes
// nothing: what it finds belongs to others.
//
// What it cannot see: engines that work in eBPF alone and make no interface of their own (the AWS VPC CNI's policy
// agent), and chains of legacy iptables. The kernel gives the latter only as a copy of the whole table; engines that
// use them use ipsets as well, and these are seen.
package neighbour

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Chain is a chain of nftables.
type Chain struct {
	// Family as nft writes it: ip, ip6, inet, bridge, arp, netdev.
	Family, Table, Name string
}

// Names is what a network namespace holds, by name.
type Names struct {
	Chains []Chain
	IPSets []string
	Links  []string
}

// Finding is one engine that is here, or was and left something.
type Finding struct {
	Engine Engine
	// Says is what else the engine is known by; may be empty.
	Says string
	// Evidence is what gives it away: the first of each kind, in order of names, so that the same names give the
	// same words.
	Evidence []string
}

// String says what was found, in the words of a log line.
func (f Finding) String() string {
	name := string(f.Engine)
	if f.Says != "" {
		name += " (" + f.Says + ")"
	}
	return name + ": " + strings.Join(f.Evidence, ", ")
}

// Find tells whose names these are, in order of the engines' names.
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

// matches says whether a name is one of the patterns, or begins as one of those that end in "*".
func matches(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		if prefix, ok := strings.CutSuffix(p, "*"); ok {
			return strings.HasPrefix(name, prefix)
		}
		return p == name
	})
}
