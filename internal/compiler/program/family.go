package program

import "net/netip"

// Family is an IP family.
type Family uint8

const (
	// V4 is IPv4.
	V4 Family = 4
	// V6 is IPv6.
	V6 Family = 6
)

// Families returns both families in the order in which tables and texts show them.
func Families() [2]Family { return [2]Family{V4, V6} }

// FamilyOf returns the family of an unmapped address.
func FamilyOf(a netip.Addr) Family {
	if a.Is4() {
		return V4
	}
	return V6
}

// Valid reports whether f is one of the two families.
func (f Family) Valid() bool { return f == V4 || f == V6 }

// String returns the name that metrics and status use.
func (f Family) String() string {
	if f == V6 {
		return "ipv6"
	}
	return "ipv4"
}
