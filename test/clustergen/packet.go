package clustergen

import (
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/netpol-agent/netpol-agent/test/oracle"
)

// packetTables holds what makes packets interesting in one state.
type packetTables struct {
	// pods are the addresses of all pods, including those that have ended. all are those and everybody else's, about
	// half of each.
	pods, all []netip.Addr
	services  []service
	hints     []hint
}

// newPacketTables reads the state once.
func newPacketTables(st oracle.State) packetTables {
	t := packetTables{pods: addrsOf(st.Pods), hints: hints(st)}
	t.services = []service{{oracle.TCP, 80}, {oracle.UDP, 53}, {oracle.SCTP, 80}, {oracle.TCP, 65535}, {oracle.UDP, 1}}
	for _, p := range st.Pods {
		eachContainerPort(p, func(port corev1.ContainerPort) {
			t.services = append(t.services, around(port.Protocol, port.ContainerPort)...)
		})
	}
	t.all = append(t.all, outsiders...)
	for _, node := range slices.Sorted(maps.Keys(st.NodeAddrs)) {
		t.all = append(t.all, st.NodeAddrs[node]...)
	}
	for _, h := range t.hints {
		t.all = append(t.all, h.remote...)
		t.services = append(t.services, h.services...)
	}
	others := len(t.all)
	for len(t.pods) > 0 && len(t.all) < 2*others {
		t.all = append(t.all, t.pods...)
	}
	return t
}

// packet returns a packet, in three of four cases one that some rule may decide.
func (t packetTables) packet(s source) oracle.Packet {
	var p oracle.Packet
	services := t.services
	if len(t.hints) > 0 && s.intn(4) != 3 {
		h := pick(s, t.hints)
		p.Src, p.Dst = t.guided(s, h)
		switch named := h.named[p.Dst]; {
		case len(named) > 0 && s.intn(2) == 0:
			services = named
		case len(h.services) > 0 && s.intn(6) != 5:
			services = h.services
		}
	} else {
		p.Src, p.Dst = t.anywhere(s)
	}
	if oneIn(s, 8) {
		setBridged(s, &p)
	}
	if oneIn(s, 8) {
		setOtherProtocol(s, &p)
		return p
	}
	chosen := pick(s, services)
	p.Protocol, p.DstPort = chosen.protocol, chosen.port
	// A rule for one protocol must not let the same port of another one through.
	if oneIn(s, 10) {
		p.Protocol = pick(s, []uint8{oracle.TCP, oracle.UDP, oracle.SCTP})
	}
	return p
}

// guided returns the ends of a packet between a pod that a policy may select and an address that its rule may mean,
// which in one of four cases is any address at all.
func (t packetTables) guided(s source, h hint) (src, dst netip.Addr) {
	local := pick(s, h.local)
	remotes := t.all
	if len(h.remote) > 0 && s.intn(4) != 3 {
		remotes = h.remote
	}
	remote := t.otherEnd(s, local, remotes)
	if h.ingress {
		return remote, local
	}
	return local, remote
}

// anywhere returns the ends of a packet, mostly with a pod at one of them.
func (t packetTables) anywhere(s source) (src, dst netip.Addr) {
	from := t.all
	if len(t.pods) > 0 && s.intn(8) != 7 {
		from = t.pods
	}
	one := pick(s, from)
	other := t.otherEnd(s, one, t.all)
	if oneIn(s, 2) {
		return other, one
	}
	return one, other
}

// Bridge is the bridge that switches a generated packet, unless the packet is routed.
const Bridge = "cni0"

// nameless are addresses that belong to no pod as far as the API knows.
var nameless = []netip.Addr{
	netip.MustParseAddr("224.0.0.251"), netip.MustParseAddr("239.255.255.250"), netip.MustParseAddr("255.255.255.255"),
	netip.MustParseAddr("fe80::1"), netip.MustParseAddr("febf:ffff::1"), netip.MustParseAddr("ff02::1"), netip.MustParseAddr("ff05::2"),
}

// setBridged makes p a packet between two ports of the pods' bridge, often one that names no pod.
func setBridged(s source, p *oracle.Packet) {
	p.Bridge = Bridge
	if oneIn(s, 3) {
		return
	}
	a := pick(s, nameless)
	switch {
	case a.Is4() != p.Src.Is4():
	case a.IsLinkLocalUnicast() && oneIn(s, 2):
		p.Src = a
	default:
		p.Dst = a
	}
}

// setOtherProtocol makes p a packet of a protocol that has no ports, at least not for a policy.
func setOtherProtocol(s source, p *oracle.Packet) {
	switch s.intn(4) {
	case 0, 1:
		p.Protocol = oracle.ICMP
		if p.Src.Is6() {
			p.Protocol = oracle.ICMPv6
			p.ICMPv6Type = pick(s, []uint8{128, 1, 132, 133, 134, 135, 136, 137, 138, 255})
		}
	default:
		p.Protocol = pick(s, []uint8{47, 50, 2, 4, 41, 33, 136, 255})
	}
}

// otherEnd returns an address of the same family as one: from the list or, if none there fits, any. It is seldom one
// itself.
func (t packetTables) otherEnd(s source, one netip.Addr, list []netip.Addr) netip.Addr {
	fits := func(list []netip.Addr) []netip.Addr {
		var others []netip.Addr
		for _, a := range list {
			if a.Is4() == one.Is4() && a != one {
				others = append(others, a)
			}
		}
		return others
	}
	if oneIn(s, 30) {
		return one
	}
	if others := fits(list); len(others) > 0 {
		return pick(s, others)
	}
	return pick(s, fits(t.all))
}
