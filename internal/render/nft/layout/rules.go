package layout

import (
	"fmt"
	"slices"
	"strings"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/ruleset"
	"github.com/netpol-agent/netpol-agent/internal/render/ranges"
)

const (
	// maxProduct bounds how many rules one rule of a policy becomes by writing out each port with each peer. A
	// larger product is split: ports lead to a chain of peers, so that a packet pays for peers only after its
	// port has matched.
	maxProduct = 8
	// maxPrefixes is the largest number of blocks that are written into rules; more become an interval set.
	maxPrefixes = 2
)

// term is one alternative of a rule's ports or peers. A term without a family fits both.
type term struct {
	family  ruleset.Family
	matches []ruleset.Match
}

// verdicts maps the program's verdicts to verdicts of one chain.
type verdicts map[program.Verdict]ruleset.Verdict

// ruleWriter writes the rules of policies into a chain of a unit.
type ruleWriter struct {
	unit     *unit
	chain    *ruleset.Chain
	families []ruleset.Family
	verdicts verdicts
	// inside holds the parts of the chain's name, unless it is the policy's own. If a rule needs a chain of peers,
	// its name is made from them.
	inside []string
}

// addAll appends the rules for one direction of a policy.
func (w *ruleWriter) addAll(pol *program.Policy, d program.Direction) {
	for i := range pol.Rules(d) {
		w.add(pol.Ref, d, &pol.Rules(d)[i])
	}
}

func (w *ruleWriter) add(ref program.PolicyRef, d program.Direction, r *program.Rule) {
	comment := fmt.Sprintf("%s %s[%d]", ref, d, r.Index)
	ports := w.portTerms(&r.Ports)
	peers := w.peerTerms(&r.Peers, d)
	if len(ports) < 2 || len(peers) < 2 || len(ports)*len(peers) <= maxProduct {
		w.chain.Rules = append(w.chain.Rules, product(ports, peers, w.verdicts[r.Verdict], comment)...)
		return
	}
	sub := &ruleset.Chain{
		Name:    ruleset.Name(slices.Concat(w.inside, []string{d.String(), ref.Namespace, ref.Name, fmt.Sprint(r.Index)})...),
		Comment: ruleset.Comment("peers of " + comment),
		Rules:   product([]term{{}}, peers, w.verdicts[r.Verdict], comment),
	}
	w.unit.Add(sub.Name, sub)
	w.chain.Rules = append(w.chain.Rules, product(ports, []term{{}}, jumpTo(sub.Name), comment)...)
}

// product writes each port with each peer of the same family, ports first.
func product(ports, peers []term, v ruleset.Verdict, comment string) []ruleset.Rule {
	var out []ruleset.Rule
	for _, port := range ports {
		for _, peer := range peers {
			if port.family != 0 && peer.family != 0 && port.family != peer.family {
				continue
			}
			m := slices.Concat(port.matches, peer.matches)
			out = append(out, rule(v, comment, m...))
		}
	}
	return out
}

// portTerms returns a term for each port, numeric ones merged.
func (w *ruleWriter) portTerms(ps *program.Ports) []term {
	if ps.Any {
		return []term{{}}
	}
	var out []term
	for _, p := range ranges.Ports(ps.List) {
		if p.First == 0 && p.Last == 65535 {
			out = append(out, term{matches: []ruleset.Match{ruleset.IsProtocol{Protocol: p.Protocol}}})
			continue
		}
		out = append(out, term{matches: []ruleset.Match{ruleset.DstPort{Protocol: p.Protocol, First: p.First, Last: p.Last}}})
	}
	for _, p := range ps.List {
		if p.Named == "" {
			continue
		}
		for _, f := range w.families {
			out = append(out, term{family: f, matches: []ruleset.Match{
				ruleset.DstAddrPortInSet{Family: f, Protocol: p.Protocol, Set: programSet(p.Named, f)},
			}})
		}
	}
	return out
}

// peerTerms returns a term for each peer; the blocks of one rule become one or a few terms.
func (w *ruleWriter) peerTerms(ps *program.Peers, d program.Direction) []term {
	if ps.Any {
		return []term{{}}
	}
	end := ruleset.Src
	if d == program.Egress {
		end = ruleset.Dst
	}
	var out []term
	for _, f := range w.families {
		for _, id := range ps.Sets {
			out = append(out, term{f, []ruleset.Match{ruleset.InSet{End: end, Family: f, Set: programSet(id, f)}}})
		}
		out = append(out, w.blockTerms(ps.Blocks, end, f)...)
	}
	return out
}

func (w *ruleWriter) blockTerms(blocks []program.Block, end ruleset.End, f ruleset.Family) []term {
	rs := ranges.Union(blocks, f)
	if len(rs) == 0 {
		return nil
	}
	if inline := prefixTerms(rs, end, f); inline != nil {
		return inline
	}
	s := blockSet(rs, f)
	w.unit.AddSet(s.Name, s)
	return []term{{f, []ruleset.Match{ruleset.InSet{End: end, Family: f, Set: s.Name}}}}
}

// prefixTerms returns a term for each range if there are few and all are prefixes, and nil otherwise.
func prefixTerms(rs []ranges.Range, end ruleset.End, f ruleset.Family) []term {
	if len(rs) > maxPrefixes {
		return nil
	}
	var out []term
	for _, r := range rs {
		p, ok := r.Prefix()
		if !ok {
			return nil
		}
		m := ruleset.Match(ruleset.InPrefix{End: end, Prefix: p})
		if p.Bits() == 0 {
			m = ruleset.IsFamily{Family: f}
		}
		out = append(out, term{f, []ruleset.Match{m}})
	}
	return out
}

// blockSet returns the interval set of ranges. Equal ranges share one set, which never changes.
func blockSet(rs []ranges.Range, f ruleset.Family) *ruleset.Set {
	s := &ruleset.Set{Type: ruleset.Addr4, Interval: true, Elems: make(map[ruleset.Elem]ruleset.Verdict, len(rs))}
	if f == ruleset.V6 {
		s.Type = ruleset.Addr6
	}
	parts := make([]string, len(rs))
	for i, r := range rs {
		s.Elems[ruleset.Elem{A: r.First, B: r.Last}] = ruleset.Verdict{}
		parts[i] = r.First.String() + "-" + r.Last.String()
	}
	text := strings.Join(parts, ",")
	s.Name = ruleset.Name("blocks"+suffix(f), digest(text))
	// The comment also depends on the ranges alone: other policies may write the same addresses differently.
	s.Comment = ruleset.Comment(text)
	return s
}
