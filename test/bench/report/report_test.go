package report

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

func TestVerdicts(t *testing.T) {
	for _, c := range []struct {
		f    Figure
		want bool
	}{
		{Figure{Value: 2.1, Limit: 2}, true},
		{Figure{Value: 2, Limit: 2}, false},
		{Figure{Value: 1000}, false},
	} {
		if c.f.Missed() != c.want {
			t.Errorf("%+v: missed %t", c.f, !c.want)
		}
	}
}

// A section that was repeated counts by its last try, and every try is shown.
func TestLastTryOfEachSectionCounts(t *testing.T) {
	bad, good := Figure{Name: "x", Unit: Msec, Value: 3, Limit: 2}, Figure{Name: "x", Unit: Msec, Value: 1, Limit: 2}
	r := Report{Tries: []Try{
		{Section: "a", Number: 1, Figures: []Figure{bad}},
		{Section: "a", Number: 2, Figures: []Figure{good}},
		{Section: "b", Number: 1, Figures: []Figure{good, bad}},
	}}
	if got, want := r.Misses(), []string{"b: x: 3.00 ms, limit 2.00 ms"}; !slices.Equal(got, want) {
		t.Errorf("missed %q, want %q", got, want)
	}
	var b bytes.Buffer
	if err := r.JSON(&b); err != nil {
		t.Fatal(err)
	}
	var back struct {
		Tries  []Try
		Missed []string
	}
	if err := json.Unmarshal(b.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	if len(back.Tries) != 3 || len(back.Missed) != 1 {
		t.Errorf("as JSON: %d tries, %d missed", len(back.Tries), len(back.Missed))
	}
}

func TestPrintShowsVerdict(t *testing.T) {
	var b strings.Builder
	Try{Section: "s", Number: 1, Figures: []Figure{
		{Name: "slow", Unit: Msec, Value: 3, Limit: 2},
		{Name: "fine", Unit: Ratio, Value: 1.05, Limit: 1.06},
		{Name: "told", Unit: MiB, Value: 12.34},
	}}.Print(&b)
	for _, want := range []string{"slow", "3.00 ms", "MISSED", "1.0500", "met", "12.3 MiB"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}
