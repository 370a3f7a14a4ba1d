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

// The last try of a repeated section counts, and every try is shown.
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

// For a section that each backend has, the last try of each backend counts, and the backends are shown side by side,
// whether their figures come from one measurement or from several.
func TestBackendsSideBySide(t *testing.T) {
	ms := func(v float64) []Figure { return []Figure{{Name: "cold", Unit: Msec, Value: v, Limit: 2}} }
	r := Report{Tries: []Try{
		{Section: "start", Backend: "a", Number: 1, Figures: ms(3)},
		{Section: "start", Backend: "a", Number: 2, Figures: ms(1)},
		{Section: "start", Backend: "b", Number: 1, Figures: ms(4)},
		{Section: "kernel", Number: 1, Figures: []Figure{
			{Name: "no rules", Unit: Usec, Value: 27}, {Name: "connect", Unit: Ratio, Backend: "a", Value: 1.01},
			{Name: "connect", Unit: Ratio, Backend: "b", Value: 1.2, Limit: 1.1},
		}},
	}}
	want := []string{"start, b: cold: 4.00 ms, limit 2.00 ms", "kernel: connect, b: 1.2000, limit 1.1000"}
	if got := r.Misses(); !slices.Equal(got, want) {
		t.Errorf("missed %q, want %q", got, want)
	}
	var b strings.Builder
	r.PrintBackends(&b, []string{"a", "b"})
	var rows []string
	for line := range strings.Lines(b.String()) {
		rows = append(rows, strings.Join(strings.Fields(line), " "))
	}
	for _, row := range []string{
		"a b", "start: cold 1.00 ms (2.00 ms) 4.00 ms (2.00 ms) MISSED", "kernel: connect 1.0100 1.2000 (1.1000) MISSED",
	} {
		if !slices.Contains(rows, row) {
			t.Errorf("no row %q in\n%s", row, b.String())
		}
	}
	if strings.Contains(b.String(), "no rules") {
		t.Errorf("a figure without a backend is listed among those of backends:\n%s", b.String())
	}
}

func TestPrintShowsNotesAndBackends(t *testing.T) {
	var b strings.Builder
	Try{Section: "s", Backend: "x", Notes: []string{"by nothing"}, Figures: []Figure{{Name: "f", Backend: "y"}}}.Print(&b)
	for _, want := range []string{"s, x (try", "by nothing\n", "f, y"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}
