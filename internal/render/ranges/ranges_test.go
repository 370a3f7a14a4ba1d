package ranges

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
)

// drawPrefix returns a prefix inside 10.0.0.0/24 or fd00::/120, so that prefixes meet in every way.
func drawPrefix(t *rapid.T, name string) netip.Prefix {
	last := byte(rapid.IntRange(0, 255).Draw(t, name))
	if rapid.Bool().Draw(t, name+" v6") {
		a := netip.MustParseAddr("fd00::").As16()
		a[15] = last
		return netip.PrefixFrom(netip.AddrFrom16(a), rapid.IntRange(120, 128).Draw(t, name+" bits")).Masked()
	}
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, last}), rapid.IntRange(24, 32).Draw(t, name+" bits")).Masked()
}

// TestUnionMeansItsBlocks compares the ranges of random blocks with what the blocks themselves say of each address, and
// expects sorted ranges with a gap between any two.
func TestUnionMeansItsBlocks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var blocks []program.Block
		for range rapid.IntRange(0, 5).Draw(t, "blocks") {
			b := program.Block{CIDR: drawPrefix(t, "cidr")}
			for range rapid.IntRange(0, 6).Draw(t, "excepts") {
				b.Except = append(b.Except, drawPrefix(t, "except"))
			}
			blocks = append(blocks, b)
		}
		for _, f := range program.Families() {
			rs := Union(blocks, f)
			for i, r := range rs {
				if r.Last.Less(r.First) || i > 0 && !rs[i-1].Last.Next().Less(r.First) {
					t.Fatalf("range %d of %v", i, rs)
				}
			}
			for n := range 256 {
				a := netip.AddrFrom4([4]byte{10, 0, 0, byte(n)})
				if f == program.V6 {
					a = netip.MustParseAddr(fmt.Sprintf("fd00::%x", n))
				}
				want, got := false, false
				for _, b := range blocks {
					want = want || b.Contains(a)
				}
				for _, r := range rs {
					got = got || !a.Less(r.First) && !r.Last.Less(a)
				}
				if got != want {
					t.Fatalf("%s: in the ranges %t, in the blocks %t: %v, %v", a, got, want, rs, blocks)
				}
			}
		}
	})
}

// TestWholeFamilies covers the first and the last address of each family, which have no neighbour on one side.
func TestWholeFamilies(t *testing.T) {
	for _, c := range []struct{ cidr, except, want string }{
		{"0.0.0.0/0", "", "[{0.0.0.0 255.255.255.255}]"},
		{"0.0.0.0/0", "0.0.0.0/0", "[]"},
		{"0.0.0.0/0", "0.0.0.0/32", "[{0.0.0.1 255.255.255.255}]"},
		{"0.0.0.0/0", "255.255.255.255/32", "[{0.0.0.0 255.255.255.254}]"},
		{"::/0", "8000::/1", "[{:: 7fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff}]"},
		{"10.0.0.0/8", "0.0.0.0/0", "[]"},
		{"10.0.0.0/8", "::/0", "[{10.0.0.0 10.255.255.255}]"},
	} {
		b := program.Block{CIDR: netip.MustParsePrefix(c.cidr)}
		if c.except != "" {
			b.Except = []netip.Prefix{netip.MustParsePrefix(c.except)}
		}
		if got := fmt.Sprint(Union([]program.Block{b}, program.FamilyOf(b.CIDR.Addr()))); got != c.want {
			t.Errorf("%s except %s: %s, want %s", c.cidr, c.except, got, c.want)
		}
	}
}

// TestManyExcepts cuts 100,000 holes into one block, more than an object of 1.5 MiB has room for. Each hole is looked at a
// few times; if each were compared with each, it would take minutes.
func TestManyExcepts(t *testing.T) {
	b := program.Block{CIDR: netip.MustParsePrefix("10.0.0.0/8")}
	for i := range 100_000 {
		a := netip.AddrFrom4([4]byte{10, byte(i >> 15), byte(i >> 7), byte(i << 1)})
		b.Except = append(b.Except, netip.PrefixFrom(a, 32))
	}
	start := time.Now()
	rs := Union([]program.Block{b}, program.V4)
	took := time.Since(start)
	t.Logf("%d ranges in %v", len(rs), took)
	if len(rs) != 100_000 || took > 2*time.Second {
		t.Errorf("%d ranges in %v, want 100,000 in about 0.1 s", len(rs), took)
	}
}
