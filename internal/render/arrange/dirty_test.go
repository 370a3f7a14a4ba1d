package arrange

import (
	"maps"
	"net/netip"
	"testing"
)

func TestDirty(t *testing.T) {
	one, two := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	d, o := NewDirty[netip.Addr](), NewDirty[netip.Addr]()
	if !d.Empty() {
		t.Error("new and not empty")
	}
	d.Chain("a")
	d.Elem("both", one)
	d.Elem("whole", one)
	d.Set("own")
	o.Chain("b")
	o.Elem("both", two)
	o.Set("whole")
	o.Elem("own", one)
	o.Elem("theirs", two)
	d.Merge(o)
	if len(d.Chains) != 2 || d.Empty() {
		t.Errorf("chains %v", d.Chains)
	}
	want := map[string]map[netip.Addr]struct{}{
		"both": {one: {}, two: {}}, "theirs": {two: {}}, "whole": nil, "own": nil,
	}
	if !maps.EqualFunc(d.Sets, want, func(a, b map[netip.Addr]struct{}) bool {
		return (a == nil) == (b == nil) && maps.Equal(a, b)
	}) {
		t.Errorf("sets %v", d.Sets)
	}
	d.Elem("theirs", one)
	if len(o.Sets["theirs"]) != 1 {
		t.Error("Merge shares what it merged")
	}
}
