package change_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/netpol-agent/netpol-agent/internal/render/nft/change"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/ruleset"
	"github.com/netpol-agent/netpol-agent/test/nft/gen"
	"github.com/netpol-agent/netpol-agent/test/nft/tool"
)

// The nft tool and the kernel accept what Text returns as a table with the right content: only then can all of it be
// deleted piece by piece.
func TestTextLoads(t *testing.T) {
	nft := tool.New(t)
	r := gen.Every()
	update, prune := change.Diff("t", r, ruleset.New(), nil)
	for _, script := range []string{r.Text("t"), update.String(), prune.String(), "delete table inet t"} {
		if err := nft(script); err != nil {
			t.Fatal(err)
		}
	}
}

// A difference written for the nft tool leads the kernel from one ruleset to another, and the kernel accepts both
// transactions. Afterwards a difference to an empty ruleset finds every object there.
func TestDiffLoads(t *testing.T) {
	nft := tool.New(t)
	random := rapid.Custom(func(t *rapid.T) *ruleset.Ruleset { return gen.Ruleset(t, false) })
	if err := nft("create table inet t"); err != nil {
		t.Fatal(err)
	}
	have := ruleset.New()
	for seed := range 40 {
		want := random.Example(seed)
		if seed == 39 {
			want = ruleset.New()
		}
		update, prune := change.Diff("t", have, want, nil)
		for _, tx := range []*change.Tx{update, prune} {
			if err := nft(tx.String()); err != nil {
				t.Fatalf("step %d: %v\n%s", seed, err, tx)
			}
		}
		have = want
	}
	if err := nft("delete table inet t"); err != nil {
		t.Fatal(err)
	}
}
