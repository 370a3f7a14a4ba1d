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
	// port matched.
	maxProduct = 8
	// maxPrefixes is up to how many blocks are written into rules; more become an interval set.
	maxPrefixes = 2
)

// unit is the part of a ruleset that one policy direction or one combination of policies yields.
type unit struct {
	chains []*ruleset.Chain
	// sets are interval sets that the chains use; their names follow from their content.
	sets []*ruleset.Set
}

// term is one alternative of a rule's ports or peers. A term of no family goes with both.
type term struct {
	family  ruleset.Family
	matches []ruleset.Match
}

// verdicts is what the program's verdicts become at one place of a ruleset.
type verdicts map[program.Verdict]ruleset.Verdict

// policyUnit renders one direction of a policy whose rules all accept, for any pod that it selects.
func policyUnit(p *program.Policy, d program.Direction, fams []ruleset.Family) unit {
	u := unit{}
	c := &ruleset.Chain{Name: policyChain(d, p), Comment: ruleset.Comment("NetworkPolicy " + string(p.ID))}
	u.chains = append(u.chains, c)
	v := verdicts{program.Accept: acceptVerdict(d)}
	for i := range p.Rules(d) {
		u.addRule(c, nil, p, d, &p.Rules(d)[i], v, fams)
	}
	return u
}

// addRule appends what one rule of a policy becomes. inside names the chain if it is not the policy's own, so
// that a chain of peers that the rule may need has a name of its own.
func (u *unit) addRule(c *ruleset.Chain, inside []string, p *program.Policy, d program.Direction, r *program.Rule, v verdicts, fams []ruleset.Family) {
	comment := fmt.Sprintf("%s %s[%d]", p.ID, d, r.Index)
	ports := portTerms(&r.Ports, fams)
	peers := u.peerTerms(&r.Peers, d, fams)
	if len(ports) < 2 || len(peers) < 2 || len(ports)*len(peers) <= maxProduct {
		c.Rules = append(c.Rules, product(ports, peers, v[r.Verdict], comment)...)
		return
	}
	sub := &ruleset.Chain{
		Name:    ruleset.Name(append(inside, d.String(), p.Namespace, p.Name, fmt.Sprint(r.Index))...),
		Comment: ruleset.Comment("peers of " + comment),
		Rules:   product([]term{{}}, peers, v[r.Verdict], comment),
	}
	u.chains = append(u.chains, sub)
	c.Rules = append(c.Rules, product(ports, []term{{}}, jumpTo(sub.Name), comment)...)
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

// portTerms gives a term for each port, numeric ones merged.
func portTerms(ps *program.Ports, fams []ruleset.Family) []term {
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
		for _, f := range fams {
			out = append(out, term{family: f, matches: []ruleset.Match{
				ruleset.DstAddrPortInSet{Family: f, Protocol: p.Protocol, Set: programSet(p.Named, f)},
			}})
		}
	}
	return out
}

// peerTerms gives a term for each peer; the blocks of one rule become one term or few.
func (u *unit) peerTerms(ps *program.Peers, d program.Direction, fams []ruleset.Family) []term {
	if ps.Any {
		return []term{{}}
	}
	end := ruleset.Src
	if d == program.Egress {
		end = ruleset.Dst
	}
	var out []term
	for _, f := range fams {
		for _, id := range ps.Sets {
			out = append(out, term{f, []ruleset.Match{ruleset.InSet{End: end, Family: f, Set: programSet(id, f)}}})
		}
		out = append(out, u.blockTerms(ps.Blocks, end, f)...)
	}
	return out
}

func (u *unit) blockTerms(blocks []program.Block, end ruleset.End, f ruleset.Family) []term {
	rs := ranges.Union(blocks, f == ruleset.V4)
	if len(rs) == 0 {
		return nil
	}
	if inline := prefixTerms(rs, end, f); inline != nil {
		return inline
	}
	s := blockSet(rs, f)
	u.sets = append(u.sets, s)
	return []term{{f, []ruleset.Match{ruleset.InSet{End: end, Family: f, Set: s.Name}}}}
}

// prefixTerms gives few ranges that are prefixes as such, and nil for others.
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

// blockSet makes the interval set of ranges. Sets with the same ranges are one, and never change.
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
	// The comment follows from the ranges too: other policies may write the same addresses otherwise.
	s.Comment = ruleset.Comment(text)
	return s
}
