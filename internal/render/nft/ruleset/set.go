package ruleset

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/netpol-agent/netpol-agent/internal/render/ranges"
)

// SetType is the type of a set's keys.
type SetType uint8

const (
	// Addr4 is ipv4_addr, in Elem.A.
	Addr4 SetType = iota
	// Addr6 is ipv6_addr, in Elem.A.
	Addr6
	// Addr4Port is ipv4_addr . inet_service, in Elem.A and Elem.Port.
	Addr4Port
	// Addr6Port is ipv6_addr . inet_service, in Elem.A and Elem.Port.
	Addr6Port
	// Addr4Pair is ipv4_addr . ipv4_addr, in Elem.A and Elem.B.
	Addr4Pair
	// Addr6Pair is ipv6_addr . ipv6_addr, in Elem.A and Elem.B.
	Addr6Pair
	// ForeignType stands for a set read from the kernel that a Set cannot describe: one with another key type, or with
	// flags that a Set does not have (timeouts, sizes, dynamic updates). Its elements are not read. It equals no type
	// that layout asks for, so a difference always removes the set.
	ForeignType SetType = 0xff
)

// String returns the type in the language of the nft tool.
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
	}
	return "foreign"
}

// Family returns the family of the type's addresses, or 0 for a type that this package does not define.
func (t SetType) Family() Family {
	switch t {
	case Addr4, Addr4Port, Addr4Pair:
		return V4
	case Addr6, Addr6Port, Addr6Pair:
		return V6
	}
	return 0
}

// Set is a set or, with Verdicts, a verdict map. Name, Type, Interval and Verdicts of an installed set never change: a
// set that needs other ones has another name.
type Set struct {
	Name    string
	Comment string
	Type    SetType
	// Interval makes each element the addresses Elem.A to Elem.B, both included. It is for Addr4 and Addr6 only.
	// Intervals of one set neither overlap nor touch.
	Interval bool
	// Verdicts makes the set a verdict map. It excludes Interval.
	Verdicts bool
	// Elems holds the elements. The value is the zero Verdict unless Verdicts is set.
	Elems map[Elem]Verdict
}

// Elem is the key of an element. Which fields count depends on the set's type; the others are zero.
type Elem struct {
	A, B netip.Addr
	Port uint16
}

// ElemVerdict is an element with its verdict, which is zero in a set that is no verdict map.
type ElemVerdict struct {
	Elem    Elem
	Verdict Verdict
}

// Compare orders elements by address, second address and port.
func (e ElemVerdict) Compare(o ElemVerdict) int {
	return cmp.Or(e.Elem.A.Compare(o.Elem.A), e.Elem.B.Compare(o.Elem.B), cmp.Compare(e.Elem.Port, o.Elem.Port))
}

// SameKind reports whether two sets differ in nothing but comment and elements.
func (s *Set) SameKind(o *Set) bool {
	return s.Name == o.Name && s.Type == o.Type && s.Interval == o.Interval && s.Verdicts == o.Verdicts
}

// WithoutElems returns a copy of the set that has no elements.
func (s *Set) WithoutElems() *Set {
	d := *s
	d.Elems = map[Elem]Verdict{}
	return &d
}

// Sorted returns the elements in order.
func (s *Set) Sorted() []ElemVerdict {
	elems := make([]ElemVerdict, 0, len(s.Elems))
	for e, v := range s.Elems {
		elems = append(elems, ElemVerdict{e, v})
	}
	slices.SortFunc(elems, ElemVerdict.Compare)
	return elems
}

// ElemText returns an element of the set in the language of the nft tool.
func (s *Set) ElemText(e ElemVerdict) string {
	if s.Verdicts || e.Verdict != (Verdict{}) {
		return s.KeyText(e.Elem) + " : " + e.Verdict.String()
	}
	return s.KeyText(e.Elem)
}

// KeyText returns the key of an element of the set in the language of the nft tool.
func (s *Set) KeyText(e Elem) string {
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
	}
	return fmt.Sprintf("%+v", e)
}

// intervalText writes an interval as an address or a prefix if it is one.
func intervalText(first, last netip.Addr) string {
	if first.IsValid() {
		if p, ok := (ranges.Range{First: first, Last: last}).Prefix(); ok {
			return prefixText(p)
		}
	}
	return first.String() + "-" + last.String()
}
