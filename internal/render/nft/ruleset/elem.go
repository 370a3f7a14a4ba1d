package ruleset

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
)

// String gives the type in the language of the nft tool.
func (t SetType) String() string {
	switch t {
	case Addr4:
		return "ipv4_addr"
	case Addr6:
		return "ipv6_addr"
	case Addr4Port:
		return "ipv4_addr . inet_service"
	case Addr6Port:
		return "ipv6_addr . inet_service"
	case Addr4Pair:
		return "ipv4_addr . ipv4_addr"
	case Addr6Pair:
		return "ipv6_addr . ipv6_addr"
	case ProtoPort:
		return "inet_proto . inet_service"
	}
	return "foreign"
}

// CompareElem orders elements by address, second address, protocol and port.
func CompareElem(a, b Elem) int {
	if c := a.A.Compare(b.A); c != 0 {
		return c
	}
	if c := a.B.Compare(b.B); c != 0 {
		return c
	}
	return cmp.Or(cmp.Compare(a.Proto, b.Proto), cmp.Compare(a.Port, b.Port))
}

func (s *Set) sortedElems() []ElemVerdict {
	elems := make([]ElemVerdict, 0, len(s.Elems))
	for e, v := range s.Elems {
		elems = append(elems, ElemVerdict{e, v})
	}
	slices.SortFunc(elems, compareElemVerdict)
	return elems
}

func compareElemVerdict(a, b ElemVerdict) int { return CompareElem(a.Elem, b.Elem) }

func (s *Set) elemText(e ElemVerdict) string {
	key := s.keyText(e.Elem)
	if s.Verdicts || e.Verdict != (Verdict{}) {
		return key + " : " + e.Verdict.String()
	}
	return key
}

func (s *Set) keyText(e Elem) string {
	switch s.Type {
	case Addr4, Addr6:
		if s.Interval {
			return intervalText(e.A, e.B)
		}
		return e.A.String()
	case Addr4Port, Addr6Port:
		return fmt.Sprintf("%s . %d", e.A, e.Port)
	case Addr4Pair, Addr6Pair:
		return fmt.Sprintf("%s . %s", e.A, e.B)
	case ProtoPort:
		return fmt.Sprintf("%s . %d", protocolText(e.Proto), e.Port)
	}
	return fmt.Sprintf("%+v", e)
}

// intervalText writes an interval as an address or a prefix if it is one.
func intervalText(first, last netip.Addr) string {
	for bits := range first.BitLen() + 1 {
		p, err := first.Prefix(bits)
		if err == nil && p.Addr() == first && LastAddr(p) == last {
			return prefixText(p)
		}
	}
	return first.String() + "-" + last.String()
}

func prefixText(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

// LastAddr gives the highest address of a valid prefix; Interval elements end with it.
func LastAddr(p netip.Prefix) netip.Addr {
	raw := p.Addr().AsSlice()
	for bit := p.Bits(); bit < len(raw)*8; bit++ {
		raw[bit/8] |= 0x80 >> (bit % 8)
	}
	last, _ := netip.AddrFromSlice(raw) // raw has the length of an address
	return last
}

// sortedKeys gives a map's keys in order, so that nothing that is written depends on a map's order.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
