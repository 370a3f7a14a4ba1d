package ruleset

import (
	"strings"
	"testing"
)

// oneSet is a table with a set, a chain that uses it if it can, and a chain that our table does not have and
// that may use anything.
func oneSet(s Set, elems ...Elem) *Ruleset {
	s.Elems = map[Elem]Verdict{}
	for _, e := range elems {
		s.Elems[e] = Verdict{}
	}
	r := New()
	r.Sets[s.Name] = &s
	r.Chains["user"] = &Chain{Name: "user", Rules: []Rule{{Matches: []Match{InSet{Src, V4, s.Name}}, Verdict: Verdict{Kind: Drop}}}}
	return r
}

func TestDiffMakesSetsAnew(t *testing.T) {
	want := oneSet(Set{Name: "s", Type: Addr4}, Elem{A: addr("10.0.0.1")})
	for name, have := range map[string]*Ruleset{
		"intervals":    oneSet(Set{Name: "s", Type: Addr4, Interval: true}),
		"another type": oneSet(Set{Name: "s", Type: Addr6}),
		"verdicts":     oneSet(Set{Name: "s", Type: Addr4, Verdicts: true}),
		"foreign":      oneSet(Set{Name: "s", Type: ForeignType}),
	} {
		t.Run(name, func(t *testing.T) {
			have.Chains["foreign"] = &Chain{Name: "foreign", Rules: []Rule{{Matches: []Match{Foreign{"lookup"}}}}}
			change, sweep := Diff("t", have, want, nil)
			wantChange := `flush chain inet t foreign
flush chain inet t user
delete set inet t s
create set inet t s { type ipv4_addr; }
add rule inet t user ip saddr @s drop
create element inet t s { 10.0.0.1 }
`
			if change.String() != wantChange {
				t.Errorf("change:\n%s", change)
			}
			if got := sweep.String(); got != "delete chain inet t foreign\n" {
				t.Errorf("sweep:\n%s", got)
			}
		})
	}
}

func TestDiffMakesChainsAnew(t *testing.T) {
	base := &Hook{Forward, 5}
	for _, c := range []struct {
		name       string
		have, want *Hook
		change     string
	}{
		{"another priority", &Hook{Forward, 4}, base, `delete chain inet t c
create chain inet t c { comment "no reason"; type filter hook forward priority 5; policy accept; }
`},
		{"foreign base chain", &Hook{Point: ForeignHook}, base, `delete chain inet t c
create chain inet t c { comment "no reason"; type filter hook forward priority 5; policy accept; }
`},
		{"base chain in a regular one's place", base, nil, `delete chain inet t c
create chain inet t c { comment "no reason"; }
`},
		{"same", base, base, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			have, want := New(), New()
			have.Chains["c"] = &Chain{Name: "c", Hook: c.have}
			want.Chains["c"] = &Chain{Name: "c", Hook: c.want, Comment: "no reason"}
			change, sweep := Diff("t", have, want, nil)
			if change.String() != c.change || !sweep.Empty() {
				t.Errorf("change:\n%ssweep:\n%s", change, sweep)
			}
		})
	}
}

// What hangs on a regular chain that stands where a base chain belongs is taken down and put up again.
func TestDiffReleasesChainInTheWay(t *testing.T) {
	have := every()
	have.Chains["forward"].Hook = nil
	have.Chains["forward"].Rules = nil
	have.Chains["empty"].Rules = []Rule{{Verdict: Verdict{Goto, "forward"}}}
	pod := Elem{A: addr("10.0.0.1")}
	have.Sets["ingress4"].Elems[pod] = Verdict{Jump, "forward"}
	m := NewModel()
	if err := m.Load("t", have); err != nil {
		t.Fatal(err)
	}
	change, _ := Diff("t", have, every(), nil)
	if err := m.Apply(change); err != nil {
		t.Fatalf("%v\n%s", err, change)
	}
	if d := m.Tables["t"].Difference(every()); d != "" {
		t.Errorf("not repaired:\n%s", d)
	}
	lines := strings.Split(strings.TrimSpace(change.String()), "\n")
	if last := lines[len(lines)-1]; !strings.HasPrefix(last, "add rule inet t forward ") {
		t.Errorf("the base chain is not last, but %s", last)
	}
}

// A doomed chain that an element leads to is freed in change and removed in sweep.
func TestDiffSweepsMap(t *testing.T) {
	have, want := every(), every()
	delete(want.Sets, "ingress4")
	delete(want.Chains, "ingress/shop")
	want.Chains["forward"].Rules = nil
	change, sweep := Diff("t", have, want, nil)
	if got := change.String(); got != `flush chain inet t forward
delete element inet t ingress4 { 10.0.0.1, 10.0.0.2 }
` {
		t.Errorf("change:\n%s", got)
	}
	if got := sweep.String(); got != `flush chain inet t ingress/shop
delete set inet t ingress4
delete chain inet t ingress/shop
` {
		t.Errorf("sweep:\n%s", got)
	}
}

func TestSplitCutsElements(t *testing.T) {
	s := &Set{Name: "s", Type: Addr4}
	elems := func(addrs ...string) []ElemVerdict {
		var out []ElemVerdict
		for _, a := range addrs {
			out = append(out, ElemVerdict{Elem: Elem{A: addr(a)}})
		}
		return out
	}
	tx := &Tx{Ops: []Op{
		AddSet{"t", s},
		AddSet{"t", s},
		AddSet{"t", s},
		DelElems{"t", s, elems("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4")},
		AddElems{"t", s, elems("10.0.0.5")},
	}}
	var got []string
	for _, part := range Split(tx, 4) {
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
	if Split(nil, 4) != nil || (*Tx)(nil).Cost() != 0 {
		t.Error("nothing has parts")
	}
}
