// Package ranges does the arithmetic of ipBlocks and ports: it turns blocks with holes, overlapping in any way, into
// the fewest equivalent address ranges, and does the same with port ranges. Kernels refuse overlapping intervals, and
// an except belongs to its own block alone, so both are resolved here, before any renderer sees an address.
package ranges

import (
	"net/netip"
	"slices"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
)

// Range is the addresses First to Last, both included, of one family.
type Range struct{ First, Last netip.Addr }

// Union returns the addresses of the blocks of one family, as sorted ranges that neither overlap nor touch.
func Union(blocks []program.Block, f program.Family) []Range {
	var all []Range
	for _, b := range blocks {
		if program.FamilyOf(b.CIDR.Addr()) == f {
			all = append(all, subtract(prefixRange(b.CIDR), b.Except)...)
		}
	}
	return merge(all)
}

// Prefix returns the prefix that holds exactly the range's addresses, if there is one.
func (r Range) Prefix() (netip.Prefix, bool) {
	for bits := 0; bits <= r.First.BitLen(); bits++ {
		p := netip.PrefixFrom(r.First, bits).Masked()
		if p.Addr() == r.First && Last(p) == r.Last {
			return p, true
		}
	}
	return netip.Prefix{}, false
}

func prefixRange(p netip.Prefix) Range {
	p = p.Masked()
	return Range{p.Addr(), Last(p)}
}

// Last returns the last address of a prefix.
func Last(p netip.Prefix) netip.Addr {
	raw := p.Addr().AsSlice()
	for bit := p.Bits(); bit < len(raw)*8; bit++ {
		raw[bit/8] |= 0x80 >> (bit % 8)
	}
	a, _ := netip.AddrFromSlice(raw) // raw is as long as an address
	return a
}

// subtract returns what is left of r without the holes. It sweeps over the sorted holes once.
func subtract(r Range, holes []netip.Prefix) []Range {
	var cut []Range
	for _, h := range holes {
		if program.FamilyOf(h.Addr()) == program.FamilyOf(r.First) {
			cut = append(cut, prefixRange(h))
		}
	}
	var left []Range
	first := r.First // the lowest address that no hole has been compared with yet; invalid after the family's last one
	for _, hole := range merge(cut) {
		if !first.IsValid() || r.Last.Less(hole.First) {
			break
		}
		if first.Less(hole.First) {
			left = append(left, Range{first, hole.First.Prev()})
		}
		if !hole.Last.Less(first) {
			first = hole.Last.Next()
		}
	}
	if first.IsValid() && !r.Last.Less(first) {
		left = append(left, Range{first, r.Last})
	}
	return left
}

// merge joins ranges that overlap or touch.
func merge(rs []Range) []Range {
	slices.SortFunc(rs, func(a, b Range) int { return a.First.Compare(b.First) })
	var out []Range
	for _, r := range rs {
		n := len(out)
		// Next of the family's last address is the zero Addr, which is less than every address.
		if n > 0 && (!out[n-1].Last.Less(r.First) || out[n-1].Last.Next() == r.First) {
			if out[n-1].Last.Less(r.Last) {
				out[n-1].Last = r.Last
			}
			continue
		}
		out = append(out, r)
	}
	return out
}
