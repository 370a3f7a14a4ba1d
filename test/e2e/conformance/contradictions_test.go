package conformance

import (
	"strings"
	"testing"
)

var (
	blocked = cell{"x/a", "y/b", "TCP/80", "allowed", "blocked"}
	open    = cell{"x/b", "y/b", "UDP/81", "blocked", "allowed"}
	self    = cell{"x/a", "x/a", "TCP/80", "blocked", "allowed"}
	unself  = cell{"x/a", "x/a", "TCP/80", "blocked", "blocked"}
	listed  = contradictions{Self: "it does", Cases: []contradiction{{Case: "#7: c", Reason: "why", Steps: [][]cell{{blocked, open}, nil}}}}
)

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		what  string
		steps []cyclonusStep
		name  string
		error string
		want  Outcome
		self  int
		says  string
	}{
		{"as expected", []cyclonusStep{{Cells: 4}}, "c", "", Passed, 0, ""},
		{"a pod reaches itself", []cyclonusStep{{Notable: []cell{self}}, {Notable: []cell{self}}}, "c", "", Passed, 2, ""},
		{"a pod does not reach itself, as expected", []cyclonusStep{{Notable: []cell{unself}}}, "c", "", Failed, 0, "x/a -> x/a"},
		{"one cell differs", []cyclonusStep{{}, {Notable: []cell{open, self}}}, "c", "", Failed, 1, "step 2: x/b -> y/b UDP/81: expected blocked, observed allowed"},
		{"it did not end", nil, "c", "no pods", Failed, 0, "no pods"},
		{"nothing was probed", nil, "c", "", Failed, 0, "nothing"},
		{"listed, and so it is", []cyclonusStep{{Notable: []cell{open, blocked}}, {}}, "7", "", Contradicted, 0, "why"},
		{"listed, and it passes", []cyclonusStep{{}, {}}, "7", "", Failed, 0, "every cell is as expected"},
		{"listed, and it differs less", []cyclonusStep{{Notable: []cell{open}}, {}}, "7", "", Failed, 0, "not differ as described"},
		{"listed, and it differs in another step", []cyclonusStep{{}, {Notable: []cell{open, blocked}}}, "7", "", Failed, 0, "not differ as described"},
	} {
		r := cyclonusResult{Number: 1, Description: "c", Steps: c.steps, Error: c.error}
		if c.name == "7" {
			r.Number = 7
		}
		got, selfs := listed.judge(r)
		if got.Outcome != c.want || selfs != c.self || !strings.Contains(got.Message, c.says) {
			t.Errorf("%s: %+v, %d cells of pods with themselves", c.what, got, selfs)
		}
	}
}

func TestContradictionsFile(t *testing.T) {
	all, err := readContradictions(contradictionsFile)
	if err != nil {
		t.Fatal(err)
	}
	if all.Self == "" {
		t.Error("no reason why a pod reaches itself")
	}
	for _, text := range []string{
		"cases: [{case: '#1: a', reason: '', steps: [[{from: a, to: b}]]}]",
		"cases: [{case: '#1: a', reason: r, steps: [[], []]}]",
		"cases: [{case: '#1: a', reason: r, cells: []}]",
	} {
		if _, err := readContradictions([]byte(text)); err == nil {
			t.Errorf("no error: %s", text)
		}
	}
}
