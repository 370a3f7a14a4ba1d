// Package program holds the rule program: what one node must enforce, as plain
// values that a renderer turns into kernel rules and an evaluator turns into a
// verdict and its reason.
//
// It decides nothing. Who is isolated and what a rule means is settled by the
// compiler before a Program exists; how a Program looks in the kernel is settled by
// a renderer. The package therefore imports neither Kubernetes types nor anything
// else of this module.
//
// Zero values are closed: a rule with zero Peers or zero Ports matches nothing.
package program

import (
	"cmp"
	"net/netip"
)

// Direction is the direction of a connection as its local pod sees it.
type Direction uint8

const (
	// Ingress judges the destination pod of a connection.
	Ingress Direction = iota
	// Egress judges the source pod of a connection.
	Egress
)

// String returns the word that the API uses for policyTypes, in lower case.
func (d Direction) String() string {
	if d == Egress {
		return "egress"
	}
	return "ingress"
}

// Directions returns both directions in the order in which tables and texts show them.
func Directions() [2]Direction { return [2]Direction{Ingress, Egress} }

// Verdict is the verdict of a rule or of a tier's default.
type Verdict uint8

const (
	// Deny drops the connection. It is the zero value, so that an unset verdict stays closed.
	Deny Verdict = iota
	// Accept lets the connection pass in this direction; the other end is still judged.
	Accept
	// Pass leaves this tier and continues with the next one.
	Pass
)

// String returns the verdict in lower case.
func (v Verdict) String() string {
	switch v {
	case Accept:
		return "accept"
	case Pass:
		return "pass"
	default:
		return "deny"
	}
}

// PolicyKind is the kind of a policy object.
type PolicyKind uint8

// NetworkPolicy is a networking.k8s.io/v1 NetworkPolicy.
const NetworkPolicy PolicyKind = iota

// String returns the kind as the API spells it.
func (k PolicyKind) String() string { return "NetworkPolicy" }

// PolicyRef identifies a policy object. Namespace is empty for a cluster-scoped kind.
type PolicyRef struct {
	Kind            PolicyKind
	Namespace, Name string
}

// String returns "namespace/name", or the name alone for a cluster-scoped policy.
func (r PolicyRef) String() string {
	if r.Namespace == "" {
		return r.Name
	}
	return r.Namespace + "/" + r.Name
}

// MarshalText implements encoding.TextMarshaler: JSON shows a reference as String does.
func (r PolicyRef) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// Compare orders references by kind, namespace and name.
func (r PolicyRef) Compare(o PolicyRef) int {
	return cmp.Or(cmp.Compare(r.Kind, o.Kind), cmp.Compare(r.Namespace, o.Namespace), cmp.Compare(r.Name, o.Name))
}

// SetID identifies an address set by its meaning: two sets with one ID have the same members.
// It is a canonical text, not a kernel name.
type SetID string

// TierID identifies a Tier by its content. It is opaque: only equality matters.
type TierID string

// StackID identifies a Stack by its content: two addresses with the same StackIDs are judged alike, and stacks of the
// same content have the same ID. It is opaque: only equality matters.
type StackID string

// Program is everything that one node enforces. Maps are never nil.
//
// The compiler owns it and changes it in place; readers use it between two changes.
type Program struct {
	// Locals holds every address of every pod of this node that policies can judge, isolated or not.
	Locals map[netip.Addr]*Local
	// Stacks holds the stacks that Locals refer to.
	Stacks map[StackID]*Stack
	// Tiers holds the tiers that Stacks refer to.
	Tiers map[TierID]*Tier
	// Policies holds the policies that Tiers refer to.
	Policies map[PolicyRef]*Policy
	// Sets holds the sets that the rules of Policies refer to.
	Sets map[SetID]*Set
	// NodeAddrs are the addresses of this node. Traffic between them and this node's pods always passes.
	NodeAddrs map[netip.Addr]struct{}
	// Bridges are the bridge interfaces, sorted, that must not switch a packet that names no pod. Link-local,
	// multicast and broadcast packets could be for an isolated pod or come from one, and no address tells. Empty
	// unless a pod of this node is isolated.
	Bridges []string
}

// New returns an empty Program: nothing is isolated.
func New() *Program {
	return &Program{
		Locals:    map[netip.Addr]*Local{},
		Stacks:    map[StackID]*Stack{},
		Tiers:     map[TierID]*Tier{},
		Policies:  map[PolicyRef]*Policy{},
		Sets:      map[SetID]*Set{},
		NodeAddrs: map[netip.Addr]struct{}{},
	}
}

// Local is one address of this node's pods.
type Local struct {
	// Pods are the pods ("namespace/name", sorted) that report the address: one, unless the cluster's
	// state is stale or a pod lies about its address.
	Pods []string
	// Ingress and Egress hold one stack for each differently isolated pod of the address, in a fixed order. All of
	// them must accept. An empty list means that the address is not isolated in that direction.
	Ingress, Egress []StackID
}

// Stacks returns the stacks of one direction.
func (l *Local) Stacks(d Direction) []StackID {
	if d == Egress {
		return l.Egress
	}
	return l.Ingress
}

// Isolated reports whether the address is isolated in either direction.
func (l *Local) Isolated() bool { return len(l.Ingress)+len(l.Egress) > 0 }

// Stack is how one pod is judged in one direction: tier after tier, top down. A connection that every
// tier passes is accepted.
type Stack struct {
	ID        StackID
	Direction Direction
	Tiers     []TierID
}

// Tier is an ordered list of policies. Their rules are tried in order, the first that matches decides; if
// none does, Default decides. The NetworkPolicy tier has only Accept rules and the default Deny, which
// makes order irrelevant and yields the union of its rules. A tier never changes; different content has a different ID.
type Tier struct {
	ID       TierID
	Policies []PolicyRef
	Default  Verdict
}

// TiersOf returns the tiers of a stack, top down. What is missing stays closed: an unknown stack is returned as one
// tier that denies everything, and so is an unknown tier.
func (p *Program) TiersOf(id StackID) []*Tier {
	s := p.Stacks[id]
	if s == nil {
		return []*Tier{{}}
	}
	out := make([]*Tier, len(s.Tiers))
	for i, t := range s.Tiers {
		if out[i] = p.Tiers[t]; out[i] == nil {
			out[i] = &Tier{ID: t}
		}
	}
	return out
}

// Policy holds the rules of one policy object that were understood. What was not understood is absent.
type Policy struct {
	Ref             PolicyRef
	Ingress, Egress []Rule
}

// Rules returns the rules of one direction.
func (p *Policy) Rules(d Direction) []Rule {
	if d == Egress {
		return p.Egress
	}
	return p.Ingress
}

// Rule matches a connection whose remote end is one of Peers and whose protocol and destination port are
// among Ports.
type Rule struct {
	Verdict Verdict
	// Index is the rule's place in its object's ingress or egress list, from 0.
	Index int
	Peers Peers
	Ports Ports
}

// Peers are the remote ends of a rule: any address at all, or the union of Sets and Blocks.
type Peers struct {
	Any    bool
	Sets   []SetID
	Blocks []Block
}

// Block is an ipBlock: the addresses of CIDR that are in no Except. Prefixes are masked, and each is of one family,
// never IPv4-mapped.
type Block struct {
	CIDR   netip.Prefix
	Except []netip.Prefix
}

// Contains reports whether the block holds the (unmapped) address.
func (b Block) Contains(a netip.Addr) bool {
	if !b.CIDR.Contains(a) {
		return false
	}
	for _, e := range b.Except {
		if e.Contains(a) {
			return false
		}
	}
	return true
}

// Ports are the protocols and ports that a rule matches: everything, including portless protocols, or the union
// of List.
type Ports struct {
	Any  bool
	List []Port
}

// Port matches one protocol and, unless Named is set, the destination ports First to Last, both included;
// 0 to 65535 is every port. With Named set it matches the destination (address, port) pairs of that set.
type Port struct {
	Protocol    uint8
	First, Last uint16
	Named       SetID
}

// SetKind is the kind of a set's members.
type SetKind uint8

const (
	// PodAddrs is a set of pod addresses; Member.Port is 0.
	PodAddrs SetKind = iota
	// NamedPorts is a set of (pod address, port number) pairs of one port name and protocol.
	NamedPorts
)

// Set is a set of pod addresses or of named ports.
type Set struct {
	ID   SetID
	Kind SetKind
	// Protocol of a NamedPorts set.
	Protocol uint8
	// Description says in words what the set holds. Renderers write it into the kernel as a comment.
	Description string
	Members     map[Member]struct{}
}

// Member is a member of a Set.
type Member struct {
	Addr netip.Addr
	Port uint16
}
