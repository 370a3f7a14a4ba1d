package golden

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/netpol-agent/netpol-agent/internal/render/nft/change"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/kernel"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/ruleset"
	"github.com/netpol-agent/netpol-agent/test/nft/compare"
	"github.com/netpol-agent/netpol-agent/test/testns"
)

// TestKernelTakesEveryGolden loads each case twice, each time into a network namespace of its own: through our
// netlink edge, which must read back exactly what it wrote, and as text through the nft tool. The tool must
// then list both alike, which shows that the kernel enforces the text that a person reviews.
func TestKernelTakesEveryGolden(t *testing.T) {
	for _, path := range cases(t) {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			a := read(t, path)
			want, _ := render(t, file(a, policyFile), file(a, extraFile))
			ours, theirs := testns.New(t), testns.New(t)
			load(t, ours, want)
			runNFT(t, theirs, file(a, rulesFile), "-f", "-")
			if d := lineDifference(list(t, ours), list(t, theirs)); d != "" {
				t.Errorf("nft lists what we wrote (-) differently from what it read from the text (+):\n%s", d)
			}
		})
	}
}

// load writes a ruleset through netlink and expects to read it back.
func load(t *testing.T, ns *testns.NS, want *ruleset.Ruleset) {
	t.Helper()
	conn, err := kernel.Open(kernel.WithNetNS(ns.FD()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	tx := &change.Tx{Ops: []change.Op{change.AddTable{Table: table}}}
	body, _ := change.Diff(table, ruleset.New(), want, nil)
	tx.Add(body.Ops...)
	if err := conn.Commit(tx); err != nil {
		t.Fatal(err)
	}
	got, there, err := conn.Read(table)
	if err != nil || !there {
		t.Fatalf("read back: table exists %v, error %v", there, err)
	}
	if d := compare.Difference(want, got); d != "" {
		t.Errorf("the kernel has something else:\n%s", d)
	}
}

func list(t *testing.T, ns *testns.NS) string {
	t.Helper()
	return runNFT(t, ns, "", "-nn", "list", "table", "inet", table)
}

// lineDifference compares two listings. It ignores the order of objects and elements, which the kernel does not
// keep.
func lineDifference(a, b string) string {
	count := map[string]int{}
	for sign, text := range map[int]string{-1: a, 1: b} {
		text = strings.NewReplacer("elements = {", "\n", ",", "\n", " }", "\n").Replace(text)
		for line := range strings.SplitSeq(text, "\n") {
			count[strings.TrimSpace(line)] += sign
		}
	}
	var out strings.Builder
	for line, n := range count {
		if n != 0 {
			fmt.Fprintf(&out, "%+d %s\n", n, line)
		}
	}
	return out.String()
}

// runNFT runs the nft tool inside a namespace and returns its output.
func runNFT(t *testing.T, ns *testns.NS, stdin string, args ...string) string {
	t.Helper()
	var out []byte
	err := ns.Run(func() error {
		cmd := exec.Command("nft", args...)
		cmd.Stdin = strings.NewReader(stdin)
		var err error
		if out, err = cmd.CombinedOutput(); err != nil {
			err = fmt.Errorf("nft %v: %w: %s", args, err, out)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
