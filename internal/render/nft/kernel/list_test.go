package kernel

import (
	"flag"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestNftListsTheSampleNaturally compares the encoding with the nft tool, which must list every rule in the form in
// which a person would have written it.
func TestNftListsTheSampleNaturally(t *testing.T) {
	ns := newNamespace(t)
	c := ns.open(t)
	table := mustLoad(t, c, sample())
	listed := ns.must(t, "nft", "list", "table", "inet", table)
	listed = strings.ReplaceAll(listed, table, "sample")
	golden(t, "testdata/sample.nft", listed)

	// nft must be able to load what it lists.
	ns.must(t, "nft", "delete", "table", "inet", table)
	file := t.TempDir() + "/sample.nft"
	if err := os.WriteFile(file, []byte(strings.Replace(listed, "table inet sample", "table inet "+table, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	ns.must(t, "nft", "-f", file)
	got := strings.ReplaceAll(ns.must(t, "nft", "list", "table", "inet", table), table, "sample")
	if d := cmp.Diff(listed, got); d != "" {
		t.Errorf("listed and loaded again:\n%s", d)
	}
}

var blanks = regexp.MustCompile(`[ \t]+`)

// golden compares text with a file, ignoring column breaks, which differ between nft's versions.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	flat := func(s string) string { return blanks.ReplaceAllString(s, " ") }
	if d := cmp.Diff(flat(string(want)), flat(got)); d != "" {
		t.Errorf("%s (-want +got):\n%s", file, d)
	}
}
