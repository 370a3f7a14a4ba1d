package change_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/netpol-agent/netpol-agent/internal/render/nft/change"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/model"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/ruleset"
	"github.com/netpol-agent/netpol-agent/test/nft/compare"
	"github.com/netpol-agent/netpol-agent/test/nft/gen"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// oneSet returns a table with a set, a chain that uses it if it can, and a chain that we do not want and that may use
// anything.
func oneSet(s ruleset.Set, elems ...ruleset.Elem) *ruleset.Ruleset {
	s.Elems = map[ruleset.Elem]ruleset.Verdict{}
	for _, e := range elems {
		s.Elems[e] = ruleset.Verdict{}
	}
	r := ruleset.New()
	r.Sets[s.Name] = &s
	r.Chains["user"] = &ruleset.Chain{Name: "user", Rules: []ruleset.Rule{{Matches: []ruleset.Match{ruleset.InSet{End: ruleset.Src, Family: ruleset.V4, Set: s.Name}}, Verdict: ruleset.Verdict{Kind: ruleset.Drop}}}}
	return r
}

func TestDiffMakesSetsAnew(t *testing.T) {
	want := oneSet(ruleset.Set{Name: "s", Type: ruleset.Addr4}, ruleset.Elem{A: addr("10.0.0.1")})
	for name, have := range map[string]*ruleset.Ruleset{
		"intervals":    oneSet(ruleset.Set{Name: "s", Type: ruleset.Addr4, Interval: true}),
		"another type": oneSet(ruleset.Set{Name: "s", Type: ruleset.Addr6}),
		"verdicts":     oneSet(ruleset.Set{Name: "s", Type: ruleset.Addr4, Verdicts: true}),
		"foreign":      oneSet(ruleset.Set{Name: "s", Type: ruleset.ForeignType}),
	} {
		t.Run(name, func(t *testing.T) {
			have.Chains["foreign"] = &ruleset.Chain{Name: "foreign", Rules: []ruleset.Rule{{Matches: []ruleset.Match{ruleset.Foreign{Note: "lookup"}}}}}
			update, prune := change.Diff("t", have, want, nil)
			wantChange := `flush chain inet t foreign
flush chain inet t user
delete set inet t s
create set inet t s { type ipv4_addr; }
add rule inet t user ip saddr @s drop
create element inet t s { 10.0.0.1 }
`
			if update.String() != wantChange {
				t.Errorf("update:\n%s", update)
			}
			if got := prune.String(); got != "delete chain inet t foreign\n" {
				t.Errorf("prune:\n%s", got)
			}
		})
	}
}

func TestDiffMakesChainsAnew(t *testing.T) {
	base := &ruleset.Hook{Point: ruleset.Forward, Priority: 5}
	for _, c := range []struct {
		name       string
		have, want *ruleset.Hook
		change     string
	}{
		{"another priority", &ruleset.Hook{Point: ruleset.Forward, Priority: 4}, base, `delete chain inet t c
create chain inet t c { comment "no reason"; type filter hook forward priority 5; policy accept; }
`},
		{"foreign base chain", &ruleset.Hook{Point: ruleset.ForeignHook}, base, `delete chain inet t c
create chain inet t c { comment "no reason"; type filter hook forward priority 5; policy accept; }
`},
		{"base chain in a regular one's place", base, nil, `delete chain inet t c
create chain inet t c { comment "no reason"; }
`},
		{"same", base, base, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			have, want := ruleset.New(), ruleset.New()
			have.Chains["c"] = &ruleset.Chain{Name: "c", Hook: c.have}
			want.Chains["c"] = &ruleset.Chain{Name: "c", Hook: c.want, Comment: "no reason"}
			update, prune := change.Diff("t", have, want, nil)
			if update.String() != c.change || !prune.Empty() {
				t.Errorf("update:\n%sprune:\n%s", update, prune)
			}
		})
	}
}

// A regular chain in the place of a base chain is replaced: what leads to it is removed and added back.
func TestDiffReleasesChainInTheWay(t *testing.T) {
	have := gen.Every()
	have.Chains["forward"].Hook = nil
	have.Chains["forward"].Rules = nil
	have.Chains["empty"].Rules = []ruleset.Rule{{Verdict: ruleset.Verdict{Kind: ruleset.Goto, Chain: "forward"}}}
	pod := ruleset.Elem{A: addr("10.0.0.1")}
	have.Sets["ingress4"].Elems[pod] = ruleset.Verdict{Kind: ruleset.Jump, Chain: "forward"}
	m := model.New()
	if err := m.Load("t", have); err != nil {
		t.Fatal(err)
	}
	update, _ := change.Diff("t", have, gen.Every(), nil)
	if err := m.Apply(update); err != nil {
		t.Fatalf("%v\n%s", err, update)
	}
	if d := compare.Difference(m.Tables["t"], gen.Every()); d != "" {
		t.Errorf("not repaired:\n%s", d)
	}
	lines := strings.Split(strings.TrimSpace(update.String()), "\n")
	if last := lines[len(lines)-1]; !strings.HasPrefix(last, "add rule inet t forward ") {
		t.Errorf("the base chain is not last, but %s", last)
	}
}

// A chain to be deleted to which an element leads is released by update and removed by prune.
func TestDiffPrunesMap(t *testing.T) {
	have, want := gen.Every(), gen.Every()
	delete(want.Sets, "ingress4")
	delete(want.Chains, "ingress/shop")
	want.Chains["forward"].Rules = nil
	update, prune := change.Diff("t", have, want, nil)
	if got := update.String(); got != `flush chain inet t forward
delete element inet t ingress4 { 10.0.0.1, 10.0.0.2 }
` {
		t.Errorf("update:\n%s", got)
	}
	if got := prune.String(); got != `flush chain inet t ingress/shop
delete set inet t ingress4
delete chain inet t ingress/shop
` {
		t.Errorf("prune:\n%s", got)
	}
}

func TestSplitCutsElements(t *testing.T) {
	s := &ruleset.Set{Name: "s", Type: ruleset.Addr4}
	elems := func(addrs ...string) []ruleset.ElemVerdict {
		var out []ruleset.ElemVerdict
		for _, a := range addrs {
			out = append(out, ruleset.ElemVerdict{Elem: ruleset.Elem{A: addr(a)}})
		}
		return out
	}
	tx := &change.Tx{Ops: []change.Op{
		change.AddSet{Table: "t", Set: s},
		change.AddSet{Table: "t", Set: s},
		change.AddSet{Table: "t", Set: s},
		change.DelElems{Table: "t", Set: s, Elems: elems("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4")},
		change.AddElems{Table: "t", Set: s, Elems: elems("10.0.0.5")},
	}}
	var got []string
	for _, part := range change.Split(tx, 4) {
		got = append(got, part.String())
	}
	want := []string{
		strings.Repeat("create set inet t s { type ipv4_addr; }\n", 3),
		"delete element inet t s { 10.0.0.1, 10.0.0.2, 10.0.0.3 }\n",
		"delete element inet t s { 10.0.0.4 }\ncreate element inet t s { 10.0.0.5 }\n",
	}
	if strings.Join(got, "---\n") != strings.Join(want, "---\n") {
		t.Errorf("parts:\n%s", strings.Join(got, "---\n"))
	}
	if change.Split(nil, 4) != nil || (*change.Tx)(nil).Cost() != 0 {
		t.Error("an empty transaction has parts")
	}
}
