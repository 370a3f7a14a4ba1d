// Package ruleset holds the content of one nftables table as a plain value, with its canonical text and the rules
// for names and comments.
//
// It does not decide what the rules should be (package layout), how one value becomes another (package change), what
// the kernel refuses (package model) or how values are written to the kernel (package kernel). It knows exactly the
// sets, chains and expressions that this project writes.
package ruleset

import (
	"fmt"
	"slices"
	"strings"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
)

// Ruleset is the content of one table of family inet. Maps are never nil.
type Ruleset struct {
	Chains map[string]*Chain
	Sets   map[string]*Set
}

// New returns an empty Ruleset.
func New() *Ruleset {
	return &Ruleset{Chains: map[string]*Chain{}, Sets: map[string]*Set{}}
}

// Chain is a base chain if Hook is set, and a regular chain otherwise.
type Chain struct {
	Name    string
	Comment string
	Hook    *Hook
	Rules   []Rule
}

// WithoutRules returns a copy of the chain that has no rules.
func (c *Chain) WithoutRules() *Chain {
	d := *c
	d.Rules = nil
	if c.Hook != nil {
		hook := *c.Hook
		d.Hook = &hook
	}
	return &d
}

// SameRules reports whether two chains have equal rules.
func (c *Chain) SameRules(o *Chain) bool { return slices.EqualFunc(c.Rules, o.Rules, Rule.Equal) }

// HookPoint is where a base chain meets packets.
type HookPoint uint8

const (
	// Forward sees routed packets and, through br_netfilter, bridged ones.
	Forward HookPoint = iota
	// Output sees packets that this node sends itself.
	Output
	// ForeignHook stands for a base chain read from the kernel that a Hook cannot describe: one of another hook, type
	// or policy. It equals no hook that layout asks for, so a difference always removes the chain.
	ForeignHook HookPoint = 0xff
)

// String returns the hook's name in the language of the nft tool.
func (h HookPoint) String() string {
	switch h {
	case Forward:
		return "forward"
	case Output:
		return "output"
	}
	return "foreign"
}

// Hook makes a chain a base chain of type filter with policy accept.
type Hook struct {
	Point    HookPoint
	Priority int32
}

// Equal reports whether two hooks are equal. Nil, the hook of a regular chain, equals nil only.
func (h *Hook) Equal(o *Hook) bool {
	if h == nil || o == nil {
		return h == o
	}
	return *h == *o
}

// Rule applies its verdict to packets that all of Matches match. Matches are evaluated in order, so the cheapest and
// most selective one should be first.
type Rule struct {
	Matches []Match
	Verdict Verdict
	// Comment is at most 128 bytes long, which is the limit of the nft tool.
	Comment string
}

// Equal reports whether two rules are equal, comments included.
func (r Rule) Equal(o Rule) bool {
	return r.Verdict == o.Verdict && r.Comment == o.Comment && slices.Equal(r.Matches, o.Matches)
}

// String returns the rule in the language of the nft tool, without table and chain. A rule with a Foreign match is
// returned as a remark, which the tool skips.
func (r Rule) String() string {
	var parts []string
	foreign, decided := false, false
	for _, m := range r.Matches {
		f := FactsOf(m)
		foreign = foreign || f.Foreign
		decided = decided || f.Verdicts
		parts = append(parts, m.String())
	}
	if !decided || r.Verdict.Kind != Continue {
		parts = append(parts, r.Verdict.String())
	}
	if r.Comment != "" {
		parts = append(parts, "comment \""+r.Comment+"\"")
	}
	if foreign {
		parts = append([]string{"#"}, parts...)
	}
	return strings.Join(parts, " ")
}

// VerdictKind is what a rule or an element of a verdict map does to a packet.
type VerdictKind uint8

const (
	// Continue goes on with the next rule. It is the verdict of rules whose last match is a verdict map.
	Continue VerdictKind = iota
	// Accept ends the evaluation of this table's base chain.
	Accept
	// Drop ends the packet.
	Drop
	// Return goes back to the rule after the last jump.
	Return
	// Jump goes to a chain and comes back.
	Jump
	// Goto goes to a chain and does not come back to this one.
	Goto
)

// Verdict is the verdict of a rule or of an element of a verdict map. Chain is set for Jump and Goto only.
type Verdict struct {
	Kind  VerdictKind
	Chain string
}

// String returns the verdict in the language of the nft tool.
func (v Verdict) String() string {
	switch v.Kind {
	case Continue:
		return "continue"
	case Accept:
		return "accept"
	case Drop:
		return "drop"
	case Return:
		return "return"
	case Jump:
		return "jump " + v.Chain
	case Goto:
		return "goto " + v.Chain
	}
	return fmt.Sprintf("verdict(%d)", v.Kind)
}

// End is one end of a packet.
type End uint8

const (
	// Src is the source address of the packet.
	Src End = iota
	// Dst is the destination address of the packet.
	Dst
)

func (e End) field() string {
	if e == Src {
		return "saddr"
	}
	return "daddr"
}

// Family is an IP family.
type Family = program.Family

// Both families.
const (
	V4 = program.V4
	V6 = program.V6
)

// word returns the family as the first word of an nft expression: ip or ip6.
func word(f Family) string {
	if f == V4 {
		return "ip"
	}
	return "ip6"
}
