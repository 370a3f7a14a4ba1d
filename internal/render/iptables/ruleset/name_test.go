package ruleset

import (
	"strings"
	"testing"
)

func TestNamesAndCommentsFit(t *testing.T) {
	if n := Name("PE", "x"); len(n) > maxChainName || !strings.HasPrefix(n, Prefix) {
		t.Errorf("%q", n)
	}
	if Name("PE", "ab", "c") == Name("PE", "a", "bc") {
		t.Error("different parts, same name")
	}
	if c := Comment(strings.Repeat("é\"\n", 200)); len(c) > maxComment || strings.ContainsAny(c, "\"\n") {
		t.Errorf("%q", c)
	}
}
