package layout

import (
	"net/netip"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/ruleset"
)

// Priority of the base chains. It lies after destination NAT (-100) and before source NAT (100), and nobody
// else is known to use it: kube-proxy and most others sit at 0, Calico at -110 and below.
const Priority = 5

// Names of the chains and sets that every ruleset has.
const (
	chainForward   = "filter-forward"
	chainOutput    = "filter-output"
	chainMidStream = "mid-stream"
	chainToPods    = "to-pods"
	chainDenied    = "denied"
	chainOnBridge  = "on-bridge"
	mapPrefix      = "isolated-"
	setIsolated    = "isolated-pods"
	setSelf        = "own-address"
)

func suffix(f ruleset.Family) string {
	if f == ruleset.V6 {
		return "-v6"
	}
	return "-v4"
}

// dispatchMap names the verdict map that leads from a pod's address to its chain.
func dispatchMap(d program.Direction, f ruleset.Family) string {
	return mapPrefix + d.String() + suffix(f)
}

func selfSet(f ruleset.Family) string { return setSelf + suffix(f) }

func isolatedSet(f ruleset.Family) string { return setIsolated + suffix(f) }

// acceptVerdict returns what an accept means in a direction: after the source's accept the packet is still
// judged at its destination, and the destination's accept is this table's final verdict.
func acceptVerdict(d program.Direction) ruleset.Verdict {
	if d == program.Egress {
		return gotoChain(chainToPods)
	}
	return ruleset.Verdict{Kind: ruleset.Accept}
}

func gotoChain(name string) ruleset.Verdict {
	return ruleset.Verdict{Kind: ruleset.Goto, Chain: name}
}

func jumpTo(name string) ruleset.Verdict { return ruleset.Verdict{Kind: ruleset.Jump, Chain: name} }

var (
	verdictAccept = ruleset.Verdict{Kind: ruleset.Accept}
	verdictDrop   = ruleset.Verdict{Kind: ruleset.Drop}
)

func rule(v ruleset.Verdict, comment string, m ...ruleset.Match) ruleset.Rule {
	return ruleset.Rule{Matches: m, Verdict: v, Comment: ruleset.Comment(comment)}
}

// skeletonChains returns the chains that every ruleset has. Those for bridges exist while a bridge needs them.
func skeletonChains(bridges []string) unit {
	var u unit
	for _, c := range []*ruleset.Chain{forwardChain(), outputChain(), midStreamChain(), toPodsChain(bridges), deniedChain()} {
		u.Add(c.Name, c)
	}
	if len(bridges) > 0 {
		u.Add(chainOnBridge, onBridgeChain())
	}
	return u
}

// skeletonSets returns the sets that every ruleset has. Addresses enter and leave them.
func skeletonSets() []*ruleset.Set {
	var out []*ruleset.Set
	for _, f := range program.Families() {
		addrs, pairs := ruleset.Addr4, ruleset.Addr4Pair
		if f == ruleset.V6 {
			addrs, pairs = ruleset.Addr6, ruleset.Addr6Pair
		}
		for _, d := range program.Directions() {
			out = append(out, &ruleset.Set{Name: dispatchMap(d, f), Type: addrs, Verdicts: true,
				Comment: "this node's isolated pods, " + d.String()})
		}
		out = append(out,
			&ruleset.Set{Name: isolatedSet(f), Type: addrs, Comment: "this node's isolated pods, either direction"},
			&ruleset.Set{Name: selfSet(f), Type: pairs, Comment: "a pod always reaches itself"})
	}
	for _, s := range out {
		s.Elems = map[ruleset.Elem]ruleset.Verdict{}
	}
	return out
}

func forwardChain() *ruleset.Chain {
	return &ruleset.Chain{
		Name: chainForward, Comment: "routed and bridged packets",
		Hook:  &ruleset.Hook{Point: ruleset.Forward, Priority: Priority},
		Rules: append([]ruleset.Rule{rule(verdictAccept, "", ruleset.CtEstablished{})}, newConnection()...),
	}
}

// outputChain lets the node reach its pods; packets of others that leave through this hook (IPVS) are judged.
func outputChain() *ruleset.Chain {
	return &ruleset.Chain{
		Name: chainOutput, Comment: "packets that this node sends itself",
		Hook: &ruleset.Hook{Point: ruleset.Output, Priority: Priority},
		Rules: append([]ruleset.Rule{
			rule(verdictAccept, "", ruleset.CtEstablished{}),
			rule(verdictAccept, "a node always reaches its pods", ruleset.LocalSource{}),
		}, newConnection()...),
	}
}

// newConnection judges the egress of the packet's source and then, unless that forbids it, the ingress of its
// destination. Both base chains contain it, because every step from chain to chain costs each connection.
func newConnection() []ruleset.Rule {
	return []ruleset.Rule{
		rule(jumpTo(chainMidStream), "", ruleset.NotSYN{}),
		dispatch(program.Egress, ruleset.V4),
		rule(verdictAccept, "neighbour discovery and router messages",
			ruleset.ICMPv6Types{First: program.FirstDiscovery, Last: program.LastDiscovery}),
		dispatch(program.Egress, ruleset.V6),
		rule(gotoChain(chainToPods), ""),
	}
}

// midStreamChain drops TCP packets of isolated pods that belong to no known connection and open none. Without
// it a connection that was cut would come back through its own reply, which conntrack takes for a new
// connection in the other direction.
func midStreamChain() *ruleset.Chain {
	c := &ruleset.Chain{Name: chainMidStream, Comment: "TCP, neither of a known connection nor opening one"}
	for _, f := range program.Families() {
		for _, end := range []ruleset.End{ruleset.Src, ruleset.Dst} {
			c.Rules = append(c.Rules, rule(verdictDrop, "", ruleset.InSet{End: end, Family: f, Set: isolatedSet(f)}))
		}
	}
	return c
}

// toPodsChain ends in a verdict: it may be reached from inside a jump, and falling off its end would lead back.
func toPodsChain(bridges []string) *ruleset.Chain {
	c := &ruleset.Chain{
		Name: chainToPods, Comment: "ingress of the packet's destination",
		Rules: []ruleset.Rule{dispatch(program.Ingress, ruleset.V4)},
	}
	for _, name := range bridges {
		// This comes before the destination can accept: the source may be isolated, and its address does not tell.
		c.Rules = append(c.Rules, rule(gotoChain(chainOnBridge), "", prefix(ruleset.Src, program.LinkLocal6), ruleset.OnBridge{Name: name}))
	}
	c.Rules = append(c.Rules, dispatch(program.Ingress, ruleset.V6))
	for _, name := range bridges {
		c.Rules = append(c.Rules, rule(gotoChain(chainOnBridge), "", ruleset.OnBridge{Name: name}))
	}
	c.Rules = append(c.Rules, rule(verdictAccept, ""))
	return c
}

func prefix(e ruleset.End, p netip.Prefix) ruleset.Match { return ruleset.InPrefix{End: e, Prefix: p} }

// onBridgeChain judges packets that a bridge of isolated pods switches from port to port and that are not for the
// address of one of them. A pod has more addresses than the API knows, and receives packets that are sent to many.
func onBridgeChain() *ruleset.Chain {
	const local, many = "link-local addresses name no pod", "may be for an isolated pod as well"
	return &ruleset.Chain{
		Name: chainOnBridge, Comment: "between two ports of a bridge with isolated pods",
		Rules: []ruleset.Rule{
			rule(verdictAccept, "neighbour discovery and router messages",
				ruleset.ICMPv6Types{First: program.FirstDiscovery, Last: program.LastDiscovery}),
			rule(verdictDrop, local, prefix(ruleset.Src, program.LinkLocal6)),
			rule(verdictDrop, local, prefix(ruleset.Dst, program.LinkLocal6)),
			rule(verdictDrop, many, prefix(ruleset.Dst, program.Multicast6)),
			rule(verdictDrop, many, prefix(ruleset.Dst, program.Multicast4)),
			rule(verdictDrop, many, ruleset.NotUnicast{}),
			rule(verdictDrop, many, ruleset.BroadcastDst{}),
			rule(verdictAccept, ""),
		},
	}
}

func dispatch(d program.Direction, f ruleset.Family) ruleset.Rule {
	end := ruleset.Dst
	if d == program.Egress {
		end = ruleset.Src
	}
	return ruleset.Rule{Matches: []ruleset.Match{
		ruleset.AddrVerdict{End: end, Family: f, Map: dispatchMap(d, f)},
	}}
}

func deniedChain() *ruleset.Chain {
	c := &ruleset.Chain{Name: chainDenied, Comment: "no policy allows it"}
	for _, f := range program.Families() {
		c.Rules = append(c.Rules, rule(verdictAccept, "a pod always reaches itself",
			ruleset.AddrPairInSet{Family: f, Set: selfSet(f)}))
	}
	c.Rules = append(c.Rules, rule(verdictDrop, ""))
	return c
}
