package lab

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Values of Options.IPFamily.
const (
	IPv4      = "ipv4"
	IPv6      = "ipv6"
	DualStack = "dual"
)

// IPFamilies returns the values of Options.IPFamily.
func IPFamilies() []string { return []string{IPv4, IPv6, DualStack} }

// family is one of the two IP families.
type family struct {
	name string
	// network is the range of the machines' addresses of this family, in their own namespaces.
	network netip.Prefix
	// loopback is the address that programs on one machine use among themselves.
	loopback netip.Addr
	// pods and services are the prefix lengths that these ranges may have.
	pods, services lengths
}

// lengths are the smallest and the largest number of bits that a prefix may have.
type lengths struct{ least, most int }

func (l lengths) has(bits int) bool { return l.least <= bits && bits <= l.most }

// The controller manager gives each node a /24 or a /64 of the pods' range. The range's prefix must be short enough
// for nine nodes and at most 16 bits shorter than a node's.
var (
	family4 = family{
		name:     "IPv4",
		network:  netip.MustParsePrefix("172.30.0.0/24"),
		loopback: netip.AddrFrom4([4]byte{127, 0, 0, 1}),
		pods:     lengths{8, 20},
		services: lengths{12, 24},
	}
	family6 = family{
		name:     "IPv6",
		network:  netip.MustParsePrefix("fd00:172:30::/64"),
		loopback: netip.IPv6Loopback(),
		pods:     lengths{48, 60},
		services: lengths{108, 120},
	}
)

// ranges are a cluster's ranges of one IP family.
type ranges struct {
	family
	podCIDR, serviceCIDR netip.Prefix
}

// ranges returns the ranges of each family of the cluster. The first family is that of a service that asks for
// none.
func (o Options) ranges() []ranges {
	v4, v6 := ranges{family4, o.PodCIDR, o.ServiceCIDR}, ranges{family6, o.PodCIDR6, o.ServiceCIDR6}
	switch o.IPFamily {
	case IPv4:
		return []ranges{v4}
	case IPv6:
		return []ranges{v6}
	case DualStack:
		return []ranges{v4, v6}
	}
	return nil
}

// PodCIDRs returns the pods' ranges, one of each IP family of the cluster. A pod's addresses have the same order.
func (o Options) PodCIDRs() []netip.Prefix {
	var all []netip.Prefix
	for _, r := range o.ranges() {
		all = append(all, r.podCIDR)
	}
	return all
}

// ServiceCIDRs returns the Services' ranges, in the order of PodCIDRs.
func (o Options) ServiceCIDRs() []netip.Prefix {
	var all []netip.Prefix
	for _, r := range o.ranges() {
		all = append(all, r.serviceCIDR)
	}
	return all
}

// validate returns an error that names the first invalid range.
func (r ranges) validate() error {
	for _, c := range []struct {
		what  string
		cidr  netip.Prefix
		bits  lengths
		other []netip.Prefix
	}{
		{"pod CIDR", r.podCIDR, r.pods, []netip.Prefix{r.serviceCIDR, r.network}},
		{"service CIDR", r.serviceCIDR, r.services, []netip.Prefix{r.network}},
	} {
		if c.cidr.Addr().BitLen() != r.network.Addr().BitLen() || !c.bits.has(c.cidr.Bits()) {
			return fmt.Errorf("%s %s: want an %s range of %d to %d prefix bits", c.what, c.cidr, r.name, c.bits.least, c.bits.most)
		}
		if i := slices.IndexFunc(c.other, c.cidr.Overlaps); i >= 0 {
			return fmt.Errorf("%s %s overlaps %s (the nodes have %s)", c.what, c.cidr, c.other[i], r.network)
		}
	}
	return nil
}

// controlPlaneNumber is the control plane's number on the lab's network. The nodes' follow.
const controlPlaneNumber = 1

// addresses returns the addresses of a machine on the lab's network, by its number, one of each family.
func (o Options) addresses(number int) []netip.Prefix {
	var all []netip.Prefix
	for _, r := range o.ranges() {
		all = append(all, netip.PrefixFrom(nth(r.network, number), r.network.Bits()))
	}
	return all
}

func addrs(prefixes []netip.Prefix) []netip.Addr {
	var all []netip.Addr
	for _, p := range prefixes {
		all = append(all, p.Addr())
	}
	return all
}

// nth returns the address of this number in a range.
func nth(p netip.Prefix, number int) netip.Addr {
	a := p.Masked().Addr()
	for range number {
		a = a.Next()
	}
	return a
}

func (o Options) validateFamily() error {
	all := o.ranges()
	if all == nil {
		return fmt.Errorf("IP family %q: want %s", o.IPFamily, strings.Join(IPFamilies(), " or "))
	}
	for _, r := range all {
		if err := r.validate(); err != nil {
			return err
		}
	}
	return nil
}
