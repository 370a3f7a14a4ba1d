package layout

import (
	"fmt"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/render/iptables/ruleset"
)

// Names of the chains that every table with rules has, besides those that the built-in chains jump to.
const (
	chainEgress  = ruleset.Prefix + "EGRESS"
	chainIngress = ruleset.Prefix + "INGRESS"
	chainOpen    = ruleset.Prefix + "OPEN"
	chainDenied  = ruleset.Prefix + "DENIED"
	chainBridge  = ruleset.Prefix + "BRIDGE"
)

func jump(chain string) ruleset.Target   { return ruleset.Target{Kind: ruleset.Jump, Chain: chain} }
func gotoTo(chain string) ruleset.Target { return ruleset.Target{Kind: ruleset.Goto, Chain: chain} }

var (
	// allow means: as far as this end of the packet is concerned, it passes.
	allow = ruleset.Target{Kind: ruleset.Return}
	drop  = ruleset.Target{Kind: ruleset.Drop}
)

// midStream drops TCP packets that belong to no known connection and open none. Without it a connection that
// was cut would come back through its own reply, which conntrack takes for a new connection of the other end.
func midStream(comment string) ruleset.Rule {
	return ruleset.Rule{Protocol: program.TCP, NotSYN: true, Comment: ruleset.Comment(comment), Target: drop}
}

// skeleton returns the chains that do not depend on the program.
func skeleton(f ruleset.Family, bridges []string) unit {
	known := ruleset.Rule{Established: true, Target: allow}
	node := ruleset.Rule{LocalSource: true, Comment: "a node always reaches its pods", Target: allow}
	var judge []ruleset.Rule
	if f == ruleset.V6 {
		for typ := program.FirstDiscovery; typ <= program.LastDiscovery; typ++ {
			judge = append(judge, ruleset.Rule{Protocol: program.ICMPv6, ICMPv6Type: typ, Target: allow})
		}
	}
	judge = append(judge,
		ruleset.Rule{Comment: "egress of the source of the packet", Target: jump(chainEgress)},
		ruleset.Rule{Comment: "ingress of its destination", Target: jump(chainIngress)})
	var u unit
	forward := append([]ruleset.Rule{known}, judge...)
	for _, name := range bridges {
		forward = append(forward, ruleset.Rule{Bridge: name, Target: gotoTo(chainBridge)})
	}
	if len(bridges) > 0 {
		u.Add(chainBridge, bridgeChain(f))
	}
	for _, c := range []*ruleset.Chain{
		{Name: ruleset.ChainForward, Rules: forward},
		{Name: ruleset.ChainOutput, Rules: append([]ruleset.Rule{known, node}, judge...)},
		{Name: chainOpen, Rules: []ruleset.Rule{midStream("pods that are isolated in the other direction only")}},
	} {
		u.Add(c.Name, c)
	}
	return u
}

// bridgeChain judges packets that name no pod and that a bridge of isolated pods switches from port to port. A pod has
// more addresses than the API knows, and receives packets that are sent to many.
func bridgeChain(f ruleset.Family) *ruleset.Chain {
	many := ruleset.Comment("may be for an isolated pod as well")
	rules := []ruleset.Rule{
		{Dst: program.Multicast4, Comment: many},
		{BroadcastDst: true, Comment: many},
	}
	if f == ruleset.V6 {
		local := ruleset.Comment("link-local addresses name no pod")
		rules = []ruleset.Rule{
			{Src: program.LinkLocal6, Comment: local},
			{Dst: program.LinkLocal6, Comment: local},
			{Dst: program.Multicast6, Comment: many},
		}
	}
	return &ruleset.Chain{Name: chainBridge, Rules: append(rules, ruleset.Rule{NotUnicast: true, Comment: many})}
}

// putTrees lays out the trees over this node's isolated addresses.
func (l *family) putTrees() {
	for _, d := range program.Directions() {
		t := tree{family: l.f, word: "I", dst: true, target: gotoTo}
		root := chainIngress
		if d == program.Egress {
			t.word, t.dst, t.src, root = "E", false, true, chainEgress
		}
		l.book.Fix(fmt.Sprintf("tree %s", d), t.unit(root, l.entries[d]))
	}
	own := tree{family: l.f, word: "D", src: true, dst: true,
		target: func(string) ruleset.Target { return allow },
		tail:   []ruleset.Rule{{Comment: "no policy allows it", Target: drop}}}
	l.book.Fix("tree denied", own.unit(chainDenied, l.entries[program.Ingress]))
}
