package layout

import (
	"net/netip"
	"slices"

	"github.com/netpol-agent/netpol-agent/internal/render/iptables/ruleset"
)

// leafSize is the largest number of addresses that one chain lists one by one.
const leafSize = 16

// levels4 and levels6 are the prefix lengths at which the tree branches. The last one leaves leafSize addresses.
// There are few, because the nftables variant of iptables limits how many chains a packet follows in a row.
var (
	levels4 = []int{16, 20, 24, 28}
	levels6 = []int{64, 112, 120, 124}
)

// tree leads from an address to a target by prefixes, in chains of its own. Its shape follows from the
// addresses alone.
type tree struct {
	family ruleset.Family
	// word is part of the names of its chains.
	word string
	// src and dst say which ends of the packet must be the address.
	src, dst bool
	// target returns the target for the value of an address.
	target func(value string) ruleset.Target
	// tail ends each chain, for addresses that are not in the tree.
	tail []ruleset.Rule
}

// unit returns the chains of the tree; root is the name of the first one.
func (t *tree) unit(root string, values map[netip.Addr]string) unit {
	addrs := make([]netip.Addr, 0, len(values))
	for a := range values {
		addrs = append(addrs, a)
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	var u unit
	t.add(&u, root, addrs, values)
	return u
}

// add adds the chain for sorted addresses, and those below it.
func (t *tree) add(u *unit, name string, addrs []netip.Addr, values map[netip.Addr]string) {
	c := &ruleset.Chain{Name: name}
	u.Add(name, c)
	for _, group := range t.groups(addrs) {
		if len(group.addrs) == 1 {
			a := group.addrs[0]
			c.Rules = append(c.Rules, t.rule(ruleset.Host(a), t.target(values[a])))
			continue
		}
		child := t.childName(group.prefix)
		c.Rules = append(c.Rules, t.rule(group.prefix, gotoTo(child)))
		t.add(u, child, group.addrs, values)
	}
	c.Rules = append(c.Rules, t.tail...)
}

func (t *tree) rule(p netip.Prefix, to ruleset.Target) ruleset.Rule {
	r := ruleset.Rule{Target: to}
	if t.src {
		r.Src = p
	}
	if t.dst {
		r.Dst = p
	}
	return r
}

// group is the addresses below one prefix.
type group struct {
	prefix netip.Prefix
	addrs  []netip.Addr
}

// groups splits addresses at the first level that separates them, or one by one if they are few.
func (t *tree) groups(addrs []netip.Addr) []group {
	if len(addrs) > leafSize {
		levels := levels4
		if t.family == ruleset.V6 {
			levels = levels6
		}
		for _, bits := range levels {
			if gs := groupBy(addrs, bits); len(gs) > 1 {
				return gs
			}
		}
	}
	var out []group
	for _, a := range addrs {
		out = append(out, group{ruleset.Host(a), []netip.Addr{a}})
	}
	return out
}

func groupBy(addrs []netip.Addr, bits int) []group {
	var out []group
	for _, a := range addrs {
		p := netip.PrefixFrom(a, bits).Masked()
		if n := len(out); n > 0 && out[n-1].prefix == p {
			out[n-1].addrs = append(out[n-1].addrs, a)
			continue
		}
		out = append(out, group{p, []netip.Addr{a}})
	}
	return out
}

// childName contains IPv4 prefixes as they are; IPv6 prefixes may be too long for that.
func (t *tree) childName(p netip.Prefix) string {
	if t.family == ruleset.V4 {
		return ruleset.Prefix + t.word + "-" + p.String()
	}
	return ruleset.Name(t.word, p.String())
}
