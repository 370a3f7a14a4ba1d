package ruleset

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Packet is what the rules can know of a packet. Source and destination are of one family.
type Packet struct {
	Src, Dst netip.Addr
	// Protocol is the number of the transport protocol.
	Protocol uint8
	// DstPort counts for TCP, UDP and SCTP only.
	DstPort uint16
	// ICMPType counts for ICMPv6 only.
	ICMPType uint8
	// SYN says that a TCP packet opens a connection.
	SYN bool
	// Established says that the packet belongs to a connection that conntrack knows, or is an ICMP error about
	// one.
	Established bool
	// LocalSource says that Src is an address of this node.
	LocalSource bool
	// Bridge is the interface between whose ports the packet is switched; empty for a routed one.
	Bridge string
	// NotUnicast says that the link-layer destination is not one interface alone.
	NotUnicast bool
	// SubnetBroadcast says that Dst is the broadcast address of a network that this node has an interface in.
	SubnetBroadcast bool
}

// Step is a rule that matched a packet, or the end of a base chain.
type Step struct {
	Chain string
	// Rule is the rule's index in Chain, or -1 at the end of the evaluation of a base chain, where its policy
	// decides.
	Rule int
	// Comment is that of the rule.
	Comment string
	// Map is the verdict map that gave the verdict, and Key the element; both are empty where the rule itself
	// did.
	Map, Key string
	Verdict  Verdict
}

// String gives one readable line.
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

// Trace says what becomes of a packet at a hook, Accept or Drop, and lists the rules that matched on the way.
// It evaluates as the kernel does:
//
//   - all base chains of the hook see the packet, in order of priority; a drop is final, an accept ends only
//     the base chain in which it happens;
//   - a jump comes back to the rule behind it, a goto does not: the end of a chain entered by goto, and a return
//     in it, lead behind the last jump, or to the policy if there was none;
//   - a match that asks for another family or protocol than the packet's does not match, and neither does a map
//     without an element for the packet.
//
// Nobody knows what a Foreign rule matches; Trace takes it to match nothing. In a ruleset that the kernel would
// not load (a jump to a chain that is not there, a loop) the packet is dropped.
func (r *Ruleset) Trace(h HookPoint, p Packet) (Verdict, []Step) {
	t := tracer{rules: r, packet: p}
	for _, chain := range r.baseChains(h) {
		if t.base(chain).Kind == Drop {
			return Verdict{Kind: Drop}, t.steps
		}
	}
	return Verdict{Kind: Accept}, t.steps
}

func (r *Ruleset) baseChains(h HookPoint) []*Chain {
	var chains []*Chain
	for _, c := range r.Chains {
		if c.Hook != nil && c.Hook.Point == h {
			chains = append(chains, c)
		}
	}
	slices.SortFunc(chains, func(a, b *Chain) int {
		if a.Hook.Priority != b.Hook.Priority {
			if a.Hook.Priority < b.Hook.Priority {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Name, b.Name)
	})
	return chains
}

type tracer struct {
	rules  *Ruleset
	packet Packet
	steps  []Step
}

// place is a rule: the one that is next.
type place struct {
	chain *Chain
	rule  int
}

// maxSteps ends the evaluation of a ruleset with a loop of gotos, which the kernel would not load.
const maxSteps = 1 << 16

func (t *tracer) base(chain *Chain) Verdict {
	var stack []place
	at := place{chain: chain}
	for range maxSteps {
		verdict := t.chain(&at)
		switch verdict.Kind {
		case Accept, Drop:
			return verdict
		case Jump, Goto:
			next := t.rules.Chains[verdict.Chain]
			if next == nil || next.Hook != nil || len(stack) == jumpStackSize {
				return Verdict{Kind: Drop}
			}
			if verdict.Kind == Jump {
				stack = append(stack, at)
			}
			at = place{chain: next}
			continue
		}
		if len(stack) == 0 {
			policy := Verdict{Kind: Accept}
			t.steps = append(t.steps, Step{Chain: chain.Name, Rule: -1, Verdict: policy})
			return policy
		}
		at = stack[len(stack)-1]
		stack = stack[:len(stack)-1]
	}
	return Verdict{Kind: Drop}
}

// chain goes on at a place until a rule decides or the chain ends, which counts as a return. The place is then
// behind that rule.
func (t *tracer) chain(at *place) Verdict {
	for at.rule < len(at.chain.Rules) {
		step, matched := t.rule(at.chain, at.rule)
		at.rule++
		if !matched {
			continue
		}
		t.steps = append(t.steps, step)
		if step.Verdict.Kind != Continue {
			return step.Verdict
		}
	}
	return Verdict{Kind: Return}
}

func (t *tracer) rule(chain *Chain, index int) (Step, bool) {
	rule := &chain.Rules[index]
	step := Step{Chain: chain.Name, Rule: index, Comment: rule.Comment, Verdict: rule.Verdict}
	for _, m := range rule.Matches {
		use, isLookup := setUseOf(m)
		if !isLookup || !use.verdicts {
			if !t.matches(m) {
				return Step{}, false
			}
			continue
		}
		verdict, key, found := t.lookup(m, use)
		if !found {
			return Step{}, false
		}
		if verdict.Kind != Continue {
			step.Map, step.Key, step.Verdict = use.name, key, verdict
			return step, true
		}
	}
	return step, true
}
