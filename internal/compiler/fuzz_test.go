package compiler

import (
	"net"
	"testing"
)

// FuzzCIDR expects every text to yield an error or a masked prefix. Where Go's own parser accepts the text, the
// prefix must be the same.
func FuzzCIDR(f *testing.F) {
	for _, s := range []string{"10.0.0.0/8", "010.1.2.3/8", "::/0", "::ffff:10.0.0.0/104", "::ffff:0:0/95", "fe80::1%eth0/64", "1.2.3.4/33", "/", "1.2.3.4", "0.0.0.0/00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parseCIDR(s)
		if err != nil {
			if p.IsValid() {
				t.Errorf("%q: both a prefix and an error", s)
			}
			return
		}
		if !p.IsValid() || p != p.Masked() || p.Addr().Is4In6() || p.Addr().Zone() != "" {
			t.Errorf("%q: %v is not a valid, masked and unmapped prefix", s, p)
		}
		if _, n, err := net.ParseCIDR(s); err == nil {
			ones, bits := n.Mask.Size()
			if p.Addr().Is4() {
				ones -= bits - 32
			}
			if p.Bits() != ones || !n.Contains(p.Addr().AsSlice()) {
				t.Errorf("%q: %v differs from %v", s, p, n)
			}
		}
	})
}
