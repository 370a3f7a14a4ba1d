package ruleset_test

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/netpol-agent/netpol-agent/internal/render/nft/ruleset"
)

func TestName(t *testing.T) {
	for _, c := range []struct {
		parts []string
		want  string
	}{
		{[]string{"ingress", "shop", "allow-web.v2"}, "ingress/shop/allow-web.v2"},
		{[]string{"ingress", "a/b"}, "ingress/a/b_"},
		{[]string{"set", "a_b"}, "set/a.b_"},
		{[]string{"set", ""}, "set/_"},
		{[]string{"9", "x"}, "x9/x_"},
		{[]string{"ingress", strings.Repeat("n", 253)}, "ingress/nnn"},
		{nil, "x_"},
	} {
		got := ruleset.Name(c.parts...)
		if !strings.HasPrefix(got, c.want) || len(c.parts) == 3 && got != c.want {
			t.Errorf("Name(%q) = %q, want %q", c.parts, got, c.want)
		}
	}
}

func TestNamesAreValidAndDistinct(t *testing.T) {
	part := rapid.OneOf(rapid.StringMatching(`[a-z0-9./_-]{0,6}`), rapid.String(), rapid.StringMatching(`[a-z]{120,140}`))
	parts := rapid.SliceOfN(part, 0, 4)
	rapid.Check(t, func(t *rapid.T) {
		a, b := parts.Draw(t, "a"), parts.Draw(t, "b")
		for _, name := range []string{ruleset.Name(a...), ruleset.Name(b...)} {
			if !ruleset.ValidName(name) {
				t.Fatalf("invalid name %q", name)
			}
		}
		if !slices.Equal(a, b) && ruleset.Name(a...) == ruleset.Name(b...) {
			t.Fatalf("%q and %q are both %q", a, b, ruleset.Name(a...))
		}
	})
}

func TestComment(t *testing.T) {
	for in, want := range map[string]string{
		`policy "x"` + "\n\tline": "policy 'x'  line",
		"bad \xff byte":           "bad ? byte",
		"":                        "",
	} {
		if got := ruleset.Comment(in); got != want {
			t.Errorf("Comment(%q) = %q, want %q", in, got, want)
		}
	}
	exact := strings.Repeat("x", ruleset.MaxComment)
	if ruleset.Comment(exact) != exact {
		t.Errorf("a comment of %d bytes was cut", ruleset.MaxComment)
	}
	rapid.Check(t, func(t *rapid.T) {
		c := ruleset.Comment(rapid.StringN(0, 200, -1).Draw(t, "comment"))
		if len(c) > ruleset.MaxComment || !utf8.ValidString(c) || strings.ContainsAny(c, "\"\n\r\x00") || ruleset.Comment(c) != c {
			t.Fatalf("comment %q", c)
		}
	})
}
