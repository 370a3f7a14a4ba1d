package clustergen

import (
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
)

// The vocabulary. It is small, so that selectors, blocks, names and ports often hit and often just miss.
var (
	// namespaceNames are the namespaces of pods and policies; the objects of the last ones are often not known.
	namespaceNames = []string{"a", "b", "c", "ghost"}
	// podNames and policyNames are unique in a namespace.
	podNames    = []string{"p0", "p1", "p2"}
	policyNames = []string{"x", "y", "z"}
	nodeNames   = []string{"n1", "n2", "n3"}

	labelKeys   = []string{"app", "tier", "x.io/role"}
	labelValues = []string{"a", "b", ""}

	// portNames are names of container ports and of policy ports, with the protocol that mostly goes with them, so that
	// policy and container agree often enough; no container has the last one.
	portNames = []portName{http, dns, sctp, {"missing", corev1.ProtocolTCP}}
	// containerPortNames and initPortNames are those of regular and of init containers.
	containerPortNames = []portName{http, http, dns, dns, sctp}
	initPortNames      = []portName{sctp, sctp, http, dns}

	http = portName{"http", corev1.ProtocolTCP}
	dns  = portName{"dns", corev1.ProtocolUDP}
	sctp = portName{"a-1", corev1.ProtocolSCTP}
	// badPortNames can be in a policy, and in a container of an object that no API server has seen.
	badPortNames = []string{"80", "", "HTTP", "a--1", "-http", "averyveryverylongname"}
	portNumbers  = []int32{80, 81, 53, 443, 8080, 1, 65534, 65535}
	// badPortNumbers include numbers whose low 16 bits are a good port.
	badPortNumbers = []int32{0, -1, 65536, 65536 + 80, 1 << 30}
	badProtocols   = []corev1.Protocol{"ICMP", "tcp", "", "*"}

	// outsiders are addresses that no pod and no node has.
	outsiders = []netip.Addr{
		netip.MustParseAddr("8.8.8.8"), netip.MustParseAddr("2001:db8::8"), netip.MustParseAddr("10.0.0.99"), netip.MustParseAddr("fd00::99"),
		netip.MustParseAddr("255.255.255.255"), netip.MustParseAddr("0.0.0.1"), netip.MustParseAddr("224.0.0.1"), netip.MustParseAddr("ff02::1"), netip.MustParseAddr("::1"),
	}
)

// portName is a name with the protocol that mostly goes with it.
type portName struct {
	text     string
	protocol corev1.Protocol
}

// slots is the number of pods and of policies that can exist at once, each with a name of its own.
const slots = 12

// slotNames returns the namespace and the name that belong to a slot.
func slotNames(slot int, names []string) (namespace, name string) {
	return namespaceNames[slot/len(names)], names[slot%len(names)]
}

// podAddr4 and podAddr6 are the addresses that a pod has unless it shares another one's.
func podAddr4(slot int) string { return fmt.Sprintf("10.0.0.%d", slot+1) }
func podAddr6(slot int) string { return fmt.Sprintf("fd00::%d", slot+1) }

// nodeAddrs returns the addresses of a node: of each family one on the nodes' network, then one on the pods'.
func nodeAddrs(node int) []netip.Addr {
	texts := []string{fmt.Sprintf("192.168.0.%d", node+1), fmt.Sprintf("10.0.0.%d", node+101), fmt.Sprintf("fd00:ff::%d", node+1), fmt.Sprintf("fd00::1:%d", node+1)}
	var addrs []netip.Addr
	for _, text := range texts {
		addrs = append(addrs, netip.MustParseAddr(text))
	}
	return addrs
}

// goodCIDRs are what API validation accepts.
var goodCIDRs = []string{
	"10.0.0.0/8", "0.0.0.0/0", "::/0", "fd00::/64",
	"10.0.0.0/24", "10.0.0.0/29", "10.0.0.4/30", "10.0.0.8/31", "10.0.0.1/32", "10.0.0.2/32", "10.0.0.5/32",
	"fd00::/125", "fd00::4/126", "fd00::1/128", "fd00::2/128", "fd00::6/128",
	"192.168.0.0/24", "192.168.0.2/32", "fd00:ff::/64", "8.8.8.0/24", "2001:db8::/32",
	"0.0.0.0/1", "128.0.0.0/1", "8000::/1", "255.255.255.255/32",
}

// oldCIDRs are what only older API servers accept, with the block they mean.
var oldCIDRs = map[string]string{
	"010.0.0.5/8":           "10.0.0.0/8",
	"010.000.000.003/32":    "10.0.0.3/32",
	"10.0.0.7/29":           "10.0.0.0/29",
	"10.0.0.0/024":          "10.0.0.0/24",
	"fd00::5/125":           "fd00::/125",
	"::ffff:10.0.0.0/120":   "10.0.0.0/24",
	"::ffff:10.0.0.6/127":   "10.0.0.6/31",
	"::ffff:a00:2/128":      "10.0.0.2/32",
	"::ffff:0.0.0.0/96":     "0.0.0.0/0",
	"::ffff:010.0.0.12/124": "10.0.0.0/28",
	"0.0.0.0/00":            "0.0.0.0/0",
	"10.0.0.9/08":           "10.0.0.0/8",
}

// oldCIDRTexts are the keys of oldCIDRs in a fixed order.
var oldCIDRTexts = []string{
	"010.0.0.5/8", "10.0.0.7/29", "fd00::5/125", "::ffff:10.0.0.0/120", "010.000.000.003/32", "10.0.0.0/024", "::ffff:10.0.0.6/127", "::ffff:a00:2/128",
	"::ffff:0.0.0.0/96", "::ffff:010.0.0.12/124", "0.0.0.0/00", "10.0.0.9/08",
}

// badCIDRs are what nobody can understand.
var badCIDRs = []string{
	"", "10.0.0.0", "10.0.0.0/33", "300.0.0.0/8", "10.0.0/8", "10.0.0.0/-1", "10.0.0.0/+8", " 10.0.0.0/8", "10.0.0.0/8/8", "::ffff:0.0.0.0/95", "::ffff:10.0.0.0/0",
	"fd00::/129", "fd00::%eth0/64", "fd00:::/64", "example.com/8", "0.0.0.0/", "0x0.0.0.0/0", "0.0.0.0/0x0",
	"\uff11\uff10.0.0.0/8", "10.0.0.0/\u0668", "0.0.0.0\u200b/0",
}

// blockEdges returns the addresses on both sides of both ends of a block, as far as they exist, or nothing if the text
// means no block.
func blockEdges(text string) []netip.Addr {
	if means, ok := oldCIDRs[text]; ok {
		text = means
	}
	block, err := netip.ParsePrefix(text)
	if err != nil {
		return nil
	}
	first := block.Masked().Addr()
	bytes := first.AsSlice()
	for bit := block.Bits(); bit < first.BitLen(); bit++ {
		bytes[bit/8] |= 0x80 >> (bit % 8)
	}
	last, _ := netip.AddrFromSlice(bytes)
	var edges []netip.Addr
	for _, a := range []netip.Addr{first, last, first.Prev(), last.Next()} {
		if a.IsValid() && !a.Is4In6() && !a.IsUnspecified() {
			edges = append(edges, a)
		}
	}
	return edges
}
