package oracle

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

// Direction is the direction of a connection as the judged pod sees it.
type Direction string

// The directions that a NetworkPolicy can isolate.
const (
	Egress  Direction = "egress"
	Ingress Direction = "ingress"
)

// Reason names the sentence of the specification that decided a judgment.
type Reason string

// The reasons, in the order in which they are checked.
const (
	// Self: source and destination are one address.
	Self Reason = "pod to itself"
	// NeighbourDiscovery: an ICMPv6 message without which IPv6 does not work.
	NeighbourDiscovery Reason = "neighbour discovery"
	// OwnNode: the other end is the node that runs the pod.
	OwnNode Reason = "own node"
	// NotIsolated: no policy selects the pod in this direction.
	NotIsolated Reason = "not isolated"
	// RuleMatched: a rule of a policy that selects the pod matched.
	RuleMatched Reason = "rule matched"
	// NoRuleMatched: policies select the pod, and none of their rules matched.
	NoRuleMatched Reason = "no rule matched"
)

// Judgment is the verdict of one pod's policies on a packet in one direction.
type Judgment struct {
	// Pod is the judged pod as namespace/name.
	Pod string
	// Direction is Egress when the pod is the source, Ingress when it is the destination.
	Direction Direction
	// Pass is the verdict.
	Pass bool
	// Reason is why.
	Reason Reason
	// Policy is the policy whose rule matched as namespace/name; empty unless Reason is RuleMatched.
	Policy string
	// Rule is the index of the rule that matched in the policy's list for Direction; 0 unless Reason is RuleMatched.
	Rule int
}

// JudgeAt returns one judgment for every end of p that is a pod of the node named node. The packet passes the node if
// all of them pass. Without a judgment it does not concern the node, and passes.
func JudgeAt(s State, node string, p Packet) []Judgment {
	p.Src, p.Dst = plain(p.Src), plain(p.Dst)
	var all []Judgment
	// Ours: two running pods that report one address are both judged, and both must allow.
	for _, pod := range s.podsAt(p.Src) {
		if node != "" && pod.Spec.NodeName == node {
			all = append(all, s.judge(pod, Egress, p))
		}
	}
	for _, pod := range s.podsAt(p.Dst) {
		if node != "" && pod.Spec.NodeName == node {
			all = append(all, s.judge(pod, Ingress, p))
		}
	}
	return all
}

// judge returns the judgment of one pod, which is the source of p for Egress and the destination for Ingress.
func (s State) judge(pod *corev1.Pod, dir Direction, p Packet) Judgment {
	j := Judgment{Pod: pod.Namespace + "/" + pod.Name, Direction: dir, Pass: true}
	other := p.Dst
	if dir == Ingress {
		other = p.Src
	}
	// Docs: "a pod cannot block access to itself".
	if p.Src == p.Dst {
		j.Reason = Self
		return j
	}
	// Ours: neighbour discovery and router messages (RFC 4861, types 133 to 137) pass: no connection works without
	// them.
	if p.Protocol == ICMPv6 && p.Src.Is6() && p.ICMPv6Type >= 133 && p.ICMPv6Type <= 137 {
		j.Reason = NeighbourDiscovery
		return j
	}
	// API: allowed "if the traffic source is the pod's local node". Docs: "traffic to and from the node where a Pod is
	// running is always allowed, regardless of the IP address of the Pod or the node". Another node is not this one.
	if s.isNodeAddr(pod.Spec.NodeName, other) {
		j.Reason = OwnNode
		return j
	}
	isolated := false
	for _, policy := range s.Policies {
		if !selects(policy, pod) || !isolates(policy, dir) {
			continue
		}
		isolated = true
		// API: allowed "if the traffic matches at least one ingress rule across all of the NetworkPolicy objects whose
		// podSelector matches the pod"; likewise for egress.
		for i, r := range rules(policy, dir) {
			if s.ruleMatches(policy, r, other, p) {
				j.Reason, j.Policy, j.Rule = RuleMatched, policy.Namespace+"/"+policy.Name, i
				return j
			}
		}
	}
	// API: "Traffic is allowed to a pod if there are no NetworkPolicies selecting the pod"; likewise outgoing.
	if !isolated {
		j.Reason = NotIsolated
		return j
	}
	// Docs: "the only allowed connections into the pod are those from the pod's node and those allowed by the ingress
	// list of some NetworkPolicy that applies to the pod for ingress"; likewise for egress.
	j.Pass, j.Reason = false, NoRuleMatched
	return j
}

// rule is an ingress or an egress rule: they differ only in the name of the peers' field.
type rule struct {
	peers []networkingv1.NetworkPolicyPeer
	ports []networkingv1.NetworkPolicyPort
}

// rules returns a policy's rules for one direction.
func rules(policy *networkingv1.NetworkPolicy, dir Direction) []rule {
	var all []rule
	if dir == Ingress {
		for _, r := range policy.Spec.Ingress {
			all = append(all, rule{peers: r.From, ports: r.Ports})
		}
		return all
	}
	for _, r := range policy.Spec.Egress {
		all = append(all, rule{peers: r.To, ports: r.Ports})
	}
	return all
}

// ruleMatches reports whether the peer address other and p's destination port match r.
//
// API: "The traffic must match both ports and from." (or to)
func (s State) ruleMatches(policy *networkingv1.NetworkPolicy, r rule, other netip.Addr, p Packet) bool {
	return s.anyPeerMatches(policy, r.peers, other) && s.anyPortMatches(r.ports, p)
}
