package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/netpol-agent/netpol-agent/test/bench/datapath"
	"github.com/netpol-agent/netpol-agent/test/bench/report"
	"github.com/netpol-agent/netpol-agent/test/bench/rules"
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

// A section that misses a limit is measured again as often as allowed, and every try is kept.
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
			t.Errorf("%v: %d measurements, %d tries printed, missed %q", c.values, calls, len(r.Tries), r.Misses())
		}
		if got := strings.Count(out.String(), "(try "); got != calls {
			t.Errorf("%v: %d tries shown", c.values, got)
		}
	}
}

// Every backend has limits for its times, for new connections and for known ones.
func TestEveryBackendHasLimits(t *testing.T) {
	kinds := map[datapath.Kind][]datapath.Result{}
	of := map[string]compared{}
	for i, b := range rules.Backends() {
		of[b] = compared{empty: 3*i + 1, few: 3*i + 2, all: 3*i + 3}
	}
	for _, k := range datapath.Kinds() {
		for range 3*len(of) + 1 {
			kinds[k] = append(kinds[k], datapath.Result{Ratios: make([]datapath.Ratio, 3*len(of)+1)})
		}
	}
	limited := map[string]map[string]float64{}
	for _, f := range kernelFigures(rules.Backends(), kinds, of, 10, 1000) {
		if f.Limit > 0 {
			if limited[f.Name] == nil {
				limited[f.Name] = map[string]float64{}
			}
			limited[f.Name][f.Backend] = f.Limit
		}
	}
	for _, b := range rules.Backends() {
		l := limitsOf[b]
		if l.coldStart == 0 || len(l.event) != 3 {
			t.Errorf("%s: %+v", b, l)
		}
		for _, want := range []string{
			"TCP connection: 1000 policies / no rules", "established, TCP request and answer: 1000 policies / no rules",
			"established, datagram: 1000 policies / empty chain",
		} {
			if limited[want][b] == 0 {
				t.Errorf("%s: %s has no limit", b, want)
			}
		}
	}
}
