package oracle

import (
	"net/netip"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
)

// blockMatches reports whether the address lies in the block and outside its exceptions, whoever has the address.
//
// API: "IPBlock describes a particular CIDR [...] that is allowed to the pods matched by a NetworkPolicySpec's
// podSelector. The except entry describes CIDRs that should not be included within this rule."
func blockMatches(block networkingv1.IPBlock, addr netip.Addr) bool {
	cidr, ok := parseCIDR(block.CIDR)
	if !ok {
		return false
	}
	inside := cidr.Contains(addr)
	for _, text := range block.Except {
		hole, ok := parseCIDR(text)
		// Ours: without knowing which hole was meant, nothing of the block is certain to be allowed.
		if !ok {
			return false
		}
		if hole.Contains(addr) {
			inside = false
		}
	}
	return inside
}

// parseCIDR reads a CIDR as Kubernetes has always read it: leading zeros of octets and of the length are ignored, and
// so are bits after the length. IPv4-mapped IPv6 is the IPv4 block it maps, if it maps one.
func parseCIDR(text string) (netip.Prefix, bool) {
	address, length, found := strings.Cut(text, "/")
	if !found {
		return netip.Prefix{}, false
	}
	bits, ok := parseDecimal(length)
	if !ok {
		return netip.Prefix{}, false
	}
	addr, ok := parseIPv4(address)
	if !ok {
		addr, ok = parseIPv6(address)
	}
	if !ok || bits > addr.BitLen() {
		return netip.Prefix{}, false
	}
	if addr.Is4In6() {
		// Ours: a shorter one mixes mapped and other addresses, so it is unclear whether it means IPv4 or IPv6.
		if bits < 96 {
			return netip.Prefix{}, false
		}
		addr, bits = addr.Unmap(), bits-96
	}
	return netip.PrefixFrom(addr, bits).Masked(), true
}

// parseIPv4 reads four decimal octets.
func parseIPv4(text string) (netip.Addr, bool) {
	parts := strings.Split(text, ".")
	if len(parts) != 4 {
		return netip.Addr{}, false
	}
	var octets [4]byte
	for i, part := range parts {
		n, ok := parseDecimal(part)
		if !ok || n > 255 {
			return netip.Addr{}, false
		}
		octets[i] = byte(n)
	}
	return netip.AddrFrom4(octets), true
}

// parseIPv6 reads eight groups. One "::" may replace one or more groups of zero (RFC 4291, section 2.2).
func parseIPv6(text string) (netip.Addr, bool) {
	var bytes [16]byte
	before, after, elided := strings.Cut(text, "::")
	head, ok := parseGroups(before, !elided)
	if !ok {
		return netip.Addr{}, false
	}
	if !elided {
		copy(bytes[:], head)
		return netip.AddrFrom16(bytes), len(head) == 16
	}
	tail, ok := parseGroups(after, true)
	if !ok || len(head)+len(tail) > 14 {
		return netip.Addr{}, false
	}
	copy(bytes[:], head)
	copy(bytes[16-len(tail):], tail)
	return netip.AddrFrom16(bytes), true
}

// parseGroups reads groups of hexadecimal digits between colons, two bytes each; the last one may be an IPv4 address of
// four bytes if the groups end the text. An empty text has no groups.
func parseGroups(text string, last bool) ([]byte, bool) {
	if text == "" {
		return nil, true
	}
	var bytes []byte
	parts := strings.Split(text, ":")
	for i, part := range parts {
		if v4, ok := parseIPv4(part); ok && last && i == len(parts)-1 {
			bytes = append(bytes, v4.AsSlice()...)
			continue
		}
		n, ok := parseNumber(part, 16)
		if !ok {
			return nil, false
		}
		bytes = append(bytes, byte(n>>8), byte(n))
	}
	return bytes, true
}

// parseDecimal reads one or more decimal digits.
func parseDecimal(text string) (int, bool) { return parseNumber(text, 10) }

// parseNumber reads one or more digits of the base, with any number of leading zeros. It refuses a number above
// 65535, the greatest group.
func parseNumber(text string, base int) (int, bool) {
	const digits = "0123456789abcdef"
	if text == "" {
		return 0, false
	}
	n := 0
	for _, c := range strings.ToLower(text) {
		d := strings.IndexRune(digits[:base], c)
		if d < 0 {
			return 0, false
		}
		n = n*base + d
		if n > 65535 {
			return 0, false
		}
	}
	return n, true
}
