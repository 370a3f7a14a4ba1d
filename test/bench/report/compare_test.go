package report

import (
	"strings"
	"testing"
)

// runs returns one report for each value of a figure.
func runs(name, unit string, values ...float64) []Report {
	var out []Report
	for _, v := range values {
		out = append(out, Report{Tries: []Try{{Section: "s", Figures: []Figure{{Name: name, Unit: unit, Value: v}}}}})
	}
	return out
}

func TestCompare(t *testing.T) {
	for _, c := range []struct {
		what      string
		unit      string
		base, now []float64
		worse     bool
	}{
		{"within the tolerance", Msec, []float64{10, 10, 10}, []float64{10.9, 99, 1}, false},
		{"beyond the tolerance", Msec, []float64{10, 10, 10}, []float64{11.1, 99, 1}, true},
		{"within the noise of the base", Msec, []float64{8, 10, 12}, []float64{13, 13, 13}, false},
		{"beyond the noise of the base", Msec, []float64{8, 10, 12}, []float64{14.1, 14.1, 14.1}, true},
		{"better", Msec, []float64{10, 10, 10}, []float64{1, 1, 1}, false},
		{"a ratio", Ratio, []float64{1.05}, []float64{1.07}, true},
		{"one element more", "", []float64{100}, []float64{101}, true},
		{"a count that was 0", "", []float64{0}, []float64{1}, true},
		{"still 0", "", []float64{0}, []float64{0}, false},
	} {
		got := Compare(runs("f", c.unit, c.base...), runs("f", c.unit, c.now...))
		if len(got) != 1 || got[0].Worse() != c.worse {
			t.Errorf("%s: %+v, want worse %t", c.what, got, c.worse)
		}
	}
}

func TestCompareLeavesOutWhatItCannotCompare(t *testing.T) {
	if got := Compare(runs("old", Msec, 1), runs("new", Msec, 1)); len(got) != 0 {
		t.Errorf("figures that only one version has are compared: %+v", got)
	}
	if got := Compare(runs("no rules", Usec, 1), runs("no rules", Usec, 9)); len(got) != 0 {
		t.Errorf("a figure of the machine is compared: %+v", got)
	}
}

func TestPrintComparisons(t *testing.T) {
	var b strings.Builder
	worse := PrintComparisons(&b, []Comparison{
		{Name: "s: slow", Unit: Msec, Base: 2, Now: 3}, {Name: "s: same", Unit: Ratio, Base: 1.05, Now: 1.05}, {Name: "s: rules", Now: 1},
	})
	if worse != 2 {
		t.Errorf("%d figures are worse, want 2", worse)
	}
	for _, want := range []string{"2.00 ms  3.00 ms  1.500", "WORSE", "1.0500", "from 0"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}
