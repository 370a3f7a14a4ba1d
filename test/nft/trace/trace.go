// Package trace evaluates the rules of an nftables table as the kernel does, for tests. It is an independent reading of what
// each match means: it shares only the values with the product.
package trace

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/netpol-agent/netpol-agent/internal/render/nft/ruleset"
)

// Packet is what rules can know about a packet. Source and destination are of one family.
type Packet struct {
	Src, Dst netip.Addr
	// Protocol is the number of the transport protocol.
	Protocol uint8
	// DstPort applies to TCP, UDP and SCTP only.
	DstPort uint16
	// ICMPType applies to ICMPv6 only.
	ICMPType uint8
	// SYN is set if a TCP packet opens a connection.
	SYN bool
	// Established is set if the packet belongs to a connection that conntrack knows, or is an ICMP error about one.
	Established bool
	// LocalSource is set if Src is an address of this node.
	LocalSource bool
	// Bridge is the interface between whose ports the packet is switched; empty for a routed one.
	Bridge string
	// NotUnicast is set if the link-layer destination is not a single interface.
	NotUnicast bool
	// SubnetBroadcast is set if Dst is the broadcast address of a network that this node has an interface in.
	SubnetBroadcast bool
}

// Step is a rule that matched a packet, or the end of a base chain.
type Step struct {
	Chain string
	// Rule is the rule's index in Chain, or -1 at the end of the evaluation of a base chain, where its policy decides.
	Rule int
	// Comment is the rule's comment.
	Comment string
	// Map is the verdict map that the verdict comes from, and Key the element. Both are empty if the verdict is the rule's
	// own.
	Map, Key string
	Verdict  ruleset.Verdict
}

// String returns one readable line.
func (s Step) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "chain %s ", s.Chain)
	if s.Rule < 0 {
		fmt.Fprintf(&b, "policy: %s", s.Verdict)
		return b.String()
	}
	fmt.Fprintf(&b, "rule %d: ", s.Rule)
	if s.Map != "" {
		fmt.Fprintf(&b, "map %s, %s: ", s.Map, s.Key)
	}
	b.WriteString(s.Verdict.String())
	if s.Comment != "" {
		fmt.Fprintf(&b, " (%s)", s.Comment)
	}
	return b.String()
}

// Trace returns what becomes of a packet at a hook, Accept or Drop, and the rules that matched on the way. It evaluates as
// the kernel does:
//
//   - all base chains of the hook see the packet, in order of priority; a drop is final, an accept ends only the base chain
//     in which it happens;
//   - a jump comes back to the rule after it, a goto does not: the end of a chain entered by goto, and a return in it, lead
//     to the rule after the last jump, or to the policy if there was none;
//   - a match that requires another family or protocol than the packet's does not match, and neither does a map without an
//     element for the packet.
//
// Nobody knows what a Foreign rule matches; Trace assumes that it matches nothing. In a ruleset that the kernel would not
// load (a jump to a chain that does not exist, a loop) the packet is dropped.
func Trace(r *ruleset.Ruleset, h ruleset.HookPoint, p Packet) (ruleset.Verdict, []Step) {
	t := tracer{rules: r, packet: p}
	for _, chain := range baseChains(r, h) {
		if t.base(chain).Kind == ruleset.Drop {
			return ruleset.Verdict{Kind: ruleset.Drop}, t.steps
		}
	}
	return ruleset.Verdict{Kind: ruleset.Accept}, t.steps
}

func baseChains(r *ruleset.Ruleset, h ruleset.HookPoint) []*ruleset.Chain {
	var chains []*ruleset.Chain
	for _, c := range r.Chains {
		if c.Hook != nil && c.Hook.Point == h {
			chains = append(chains, c)
		}
	}
	slices.SortFunc(chains, func(a, b *ruleset.Chain) int {
		return cmp.Or(cmp.Compare(a.Hook.Priority, b.Hook.Priority), cmp.Compare(a.Name, b.Name))
	})
	return chains
}

type tracer struct {
	rules  *ruleset.Ruleset
	packet Packet
	steps  []Step
}

// position is the rule to evaluate next.
type position struct {
	chain *ruleset.Chain
	rule  int
}

const (
	// maxJumps is the kernel's NFT_JUMP_STACK_SIZE.
	maxJumps = 16
	// maxSteps ends the evaluation of a ruleset with a loop of gotos, which the kernel would not load.
	maxSteps = 1 << 16
)

func (t *tracer) base(chain *ruleset.Chain) ruleset.Verdict {
	var stack []position
	at := position{chain: chain}
	for range maxSteps {
		verdict := t.chain(&at)
		switch verdict.Kind {
		case ruleset.Accept, ruleset.Drop:
			return verdict
		case ruleset.Jump, ruleset.Goto:
			next := t.rules.Chains[verdict.Chain]
			if next == nil || next.Hook != nil || len(stack) == maxJumps {
				return ruleset.Verdict{Kind: ruleset.Drop}
			}
			if verdict.Kind == ruleset.Jump {
				stack = append(stack, at)
			}
			at = position{chain: next}
			continue
		}
		if len(stack) == 0 {
			policy := ruleset.Verdict{Kind: ruleset.Accept}
			t.steps = append(t.steps, Step{Chain: chain.Name, Rule: -1, Verdict: policy})
			return policy
		}
		at = stack[len(stack)-1]
		stack = stack[:len(stack)-1]
	}
	return ruleset.Verdict{Kind: ruleset.Drop}
}

// chain evaluates rules from a position on until one decides or the chain ends, which counts as a return. The position
// is then after that rule.
func (t *tracer) chain(at *position) ruleset.Verdict {
	for at.rule < len(at.chain.Rules) {
		step, matched := t.rule(at.chain, at.rule)
		at.rule++
		if !matched {
			continue
		}
		t.steps = append(t.steps, step)
		if step.Verdict.Kind != ruleset.Continue {
			return step.Verdict
		}
	}
	return ruleset.Verdict{Kind: ruleset.Return}
}

func (t *tracer) rule(chain *ruleset.Chain, index int) (Step, bool) {
	rule := &chain.Rules[index]
	step := Step{Chain: chain.Name, Rule: index, Comment: rule.Comment, Verdict: rule.Verdict}
	for _, m := range rule.Matches {
		lookup, ok := m.(ruleset.AddrVerdict)
		if !ok {
			if !t.matches(m) {
				return Step{}, false
			}
			continue
		}
		verdict, key, found := t.lookup(lookup)
		if !found {
			return Step{}, false
		}
		if verdict.Kind != ruleset.Continue {
			step.Map, step.Key, step.Verdict = lookup.Map, key, verdict
			return step, true
		}
	}
	return step, true
}
