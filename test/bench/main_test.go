package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/netpol-agent/netpol-agent/test/bench/report"
)

func TestWrongArgumentsAreRefused(t *testing.T) {
	for _, args := range [][]string{
		{"-only", "nonsense"}, {"-samples", "0"}, {"-local", "9000"}, {"stray"}, {"-nonsense"}, {"-backends", "ipfw"}, {"-trials", "0"},
	} {
		if err := run(args, &bytes.Buffer{}); err == nil {
			t.Errorf("%q is accepted", args)
		}
	}
}

// A section is measured again while it misses a limit, as often as allowed, and every try is kept.
func TestMissedLimitsAreTriedAgain(t *testing.T) {
	for _, c := range []struct {
		values []float64
		missed int
	}{
		{[]float64{1}, 0},
		{[]float64{3, 1}, 0},
		{[]float64{3, 3, 3}, 1},
	} {
		calls := 0
		s := section{name: "s", measure: func(options, string) ([]report.Figure, error) {
			calls++
			return []report.Figure{{Name: "f", Unit: report.Msec, Value: c.values[calls-1], Limit: 2}}, nil
		}}
		r := &report.Report{}
		var out strings.Builder
		if err := measure(s, "", options{tries: 3}, r, &out); err != nil {
			t.Fatal(err)
		}
		if calls != len(c.values) || len(r.Tries) != calls || len(r.Misses()) != c.missed {
			t.Errorf("%v: %d measurements, %d tries told, missed %q", c.values, calls, len(r.Tries), r.Misses())
		}
		if got := strings.Count(out.String(), "(try "); got != calls {
			t.Errorf("%v: %d tries are shown", c.values, got)
		}
	}
}
