package layout

import (
	"fmt"
	"net/netip"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/render/arrange"
	"github.com/netpol-agent/netpol-agent/internal/render/iptables/ruleset"
	"github.com/netpol-agent/netpol-agent/internal/render/ranges"
)

// maxPrefixes is the largest number of prefixes that are written into rules; more become a set.
const maxPrefixes = 2

func peerSet(id program.SetID, f ruleset.Family) string {
	return ruleset.Name(fmt.Sprintf("%dP", f), string(id))
}

// tierChain names the chain of a tier.
func tierChain(at arrange.Position) string {
	word := [2]string{program.Ingress: "PI", program.Egress: "PE"}[at.Combination.Direction]
	return ruleset.Name(word, at.Combination.Meaning, fmt.Sprintf("%d.%d", at.Stack, at.Tier))
}

func portSet(id program.SetID, f ruleset.Family) string {
	return ruleset.Name(fmt.Sprintf("%dN", f), string(id))
}

// portTerm is one alternative of a rule's ports.
type portTerm struct {
	protocol uint8
	ports    []ruleset.PortRange
	// named is the set of a named port, or empty.
	named string
}

// peerTerm is one alternative of a rule's peers: the zero value is every address of the family.
type peerTerm struct {
	prefix netip.Prefix
	set    string
}

// addRule appends the rules for one rule of a policy: each of its ports with each of its peers. A jump to a chain
// of peers is not possible here (see the package comment); multiport keeps the ports few.
func addRule(u *unit, c *ruleset.Chain, p *program.Policy, d program.Direction, r *program.Rule, v verdicts, f ruleset.Family) {
	comment := ruleset.Comment(fmt.Sprintf("%s %s[%d]", p.Ref, d, r.Index))
	end := ruleset.Src
	if d == program.Egress {
		end = ruleset.Dst
	}
	peers := peerTerms(u, &r.Peers, f)
	for _, port := range portTerms(&r.Ports, f) {
		for _, peer := range peers {
			rule := ruleset.Rule{Protocol: port.protocol, Ports: port.ports, Comment: comment, Target: v[r.Verdict]}
			if port.named != "" {
				rule.Sets = append(rule.Sets, ruleset.SetMatch{Set: port.named, End: ruleset.DstPort})
			}
			if peer.set != "" {
				rule.Sets = append(rule.Sets, ruleset.SetMatch{Set: peer.set, End: end})
			}
			if end == ruleset.Src {
				rule.Src = peer.prefix
			} else {
				rule.Dst = peer.prefix
			}
			c.Rules = append(c.Rules, rule)
		}
	}
}

// portTerms returns a term for each protocol's ports, as many as fit into one rule, and one for each named port.
func portTerms(ps *program.Ports, f ruleset.Family) []portTerm {
	if ps.Any {
		return []portTerm{{}}
	}
	var out []portTerm
	slots := 0
	for _, p := range ranges.Ports(ps.List) {
		if p.First == 0 && p.Last == 65535 {
			out = append(out, portTerm{protocol: p.Protocol})
			continue
		}
		need := 1
		if p.First != p.Last {
			need = 2
		}
		if n := len(out); n == 0 || out[n-1].protocol != p.Protocol || slots+need > ruleset.MaxPorts {
			out = append(out, portTerm{protocol: p.Protocol})
			slots = 0
		}
		last := &out[len(out)-1]
		last.ports = append(last.ports, ruleset.PortRange{First: p.First, Last: p.Last})
		slots += need
	}
	for _, p := range ps.List {
		if p.Named != "" {
			out = append(out, portTerm{protocol: p.Protocol, named: portSet(p.Named, f)})
		}
	}
	return out
}

// peerTerms returns a term for each peer; the blocks of one rule become one or a few terms.
func peerTerms(u *unit, ps *program.Peers, f ruleset.Family) []peerTerm {
	if ps.Any {
		return []peerTerm{{}}
	}
	var out []peerTerm
	for _, id := range ps.Sets {
		out = append(out, peerTerm{set: peerSet(id, f)})
	}
	var blocks []netip.Prefix
	for _, r := range ranges.Union(ps.Blocks, f) {
		blocks = append(blocks, prefixes(r)...)
	}
	if len(blocks) > maxPrefixes {
		s := blockSet(blocks, f)
		u.AddSet(s.Name, s)
		return append(out, peerTerm{set: s.Name})
	}
	for _, b := range blocks {
		if b.Bits() == 0 {
			b = netip.Prefix{}
		}
		out = append(out, peerTerm{prefix: b})
	}
	return out
}

// blockSet returns the set of the prefixes, which do not overlap. Equal prefixes share one set, which never changes.
// hash:net does not accept the whole address space, but that is never one of several prefixes.
func blockSet(blocks []netip.Prefix, f ruleset.Family) *ruleset.Set {
	s := &ruleset.Set{Type: ruleset.HashNet, Members: make(map[ruleset.Member]struct{}, len(blocks))}
	var parts []string
	for _, b := range blocks {
		s.Members[ruleset.Member{Prefix: b}] = struct{}{}
		parts = append(parts, b.String())
	}
	s.Name = ruleset.Name(fmt.Sprintf("%dB", f), parts...)
	return s
}

// prefixes returns the fewest prefixes that hold exactly the range's addresses.
func prefixes(r ranges.Range) []netip.Prefix {
	var out []netip.Prefix
	for first := r.First; first.IsValid() && !r.Last.Less(first); {
		p := ruleset.Host(first)
		for p.Bits() > 0 {
			wider := netip.PrefixFrom(first, p.Bits()-1).Masked()
			if wider.Addr() != first || r.Last.Less(ranges.Last(wider)) {
				break
			}
			p = wider
		}
		out = append(out, p)
		first = ranges.Last(p).Next()
	}
	return out
}
