package program

import "net/netip"

// IP protocol numbers that carry ports in a NetworkPolicy, and those that need a rule of their own.
const (
	ICMP   uint8 = 1
	TCP    uint8 = 6
	UDP    uint8 = 17
	ICMPv6 uint8 = 58
	SCTP   uint8 = 132
)

// The ICMPv6 types of router and neighbour discovery (RFC 4861), from router solicitation to redirect. They always
// pass, because every connection needs them.
const (
	FirstDiscovery uint8 = 133
	LastDiscovery  uint8 = 137
)

// Addresses that name no pod: every interface has a link-local address besides those that the cluster assigns, and
// packets to the others reach many pods at once.
var (
	LinkLocal6 = netip.MustParsePrefix("fe80::/10")
	Multicast4 = netip.MustParsePrefix("224.0.0.0/4")
	Multicast6 = netip.MustParsePrefix("ff00::/8")
	Broadcast4 = netip.AddrFrom4([4]byte{255, 255, 255, 255})
)
