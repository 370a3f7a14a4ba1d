package report

import (
	"fmt"
	"io"
	"math"
	"slices"
	"text/tabwriter"

	"github.com/netpol-agent/netpol-agent/test/bench/stat"
)

// tolerance is how much worse a figure of a unit may be, as a fraction of its base value, where noise does not allow
// more. A figure without a unit is counted, not measured, and may not grow. Figures of units that are missing here are
// not compared: they describe the machine, not the agent.
var tolerance = map[string]float64{Ratio: 0.015, Msec: 0.10, MiB: 0.05, "": 0}

// Comparison is a figure of two versions of the agent, each measured several times.
type Comparison struct {
	// Name includes section, figure and backend.
	Name string
	Unit string
	// Base and Now are the medians of the two versions.
	Base, Now float64
	// Noise is how far the measurements of the base lie apart, as a fraction of their median.
	Noise float64
}

// Ratio is the figure as a multiple of its base value.
func (c Comparison) Ratio() float64 {
	if c.Base == c.Now {
		return 1
	}
	return c.Now / c.Base
}

// Allowed is the greatest ratio that is not worse: 1 plus the unit's tolerance or the noise, whichever is more.
func (c Comparison) Allowed() float64 { return 1 + max(tolerance[c.Unit], c.Noise) }

// Worse reports whether the figure is worse than its base value by more than tolerance and noise.
func (c Comparison) Worse() bool { return c.Ratio() > c.Allowed() }

// Compare compares the figures that both versions have, in the order in which the base measured them. A smaller figure
// is always better.
func Compare(base, now []Report) []Comparison {
	order, before := collect(base)
	_, after := collect(now)
	var out []Comparison
	for _, f := range order {
		a, b := before[f.Name], after[f.Name]
		if _, ok := tolerance[f.Unit]; !ok || len(b) == 0 {
			continue
		}
		c := Comparison{Name: f.Name, Unit: f.Unit, Base: stat.Median(a), Now: stat.Median(b)}
		if c.Base != 0 {
			c.Noise = (slices.Max(a) - slices.Min(a)) / c.Base
		}
		out = append(out, c)
	}
	return out
}

// collect returns the figures, named with their sections and backends, and the values of each figure in all reports.
func collect(reports []Report) (order []Figure, values map[string][]float64) {
	values = map[string][]float64{}
	for _, r := range reports {
		for _, t := range r.last() {
			for _, f := range t.Figures {
				f.Name = t.name() + ": " + f.label()
				if values[f.Name] == nil {
					order = append(order, f)
				}
				values[f.Name] = append(values[f.Name], f.Value)
			}
		}
	}
	return order, values
}

// PrintComparisons writes a table and returns how many figures are worse.
func PrintComparisons(w io.Writer, all []Comparison) (worse int) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	defer func() { _ = tw.Flush() }()
	fmt.Fprint(tw, "  \tbase\tnow\tratio\tallowed\t\n")
	for _, c := range all {
		verdict := ""
		if c.Worse() {
			verdict = "WORSE"
			worse++
		}
		fmt.Fprintf(tw, "  %s\t%s\t%s\t%s\t%.3f\t%s\n", c.Name, show(c.Base, c.Unit), show(c.Now, c.Unit), times(c.Ratio()), c.Allowed(), verdict)
	}
	return worse
}

// times formats a ratio. The base may have been 0.
func times(r float64) string {
	if math.IsInf(r, 0) {
		return "from 0"
	}
	return fmt.Sprintf("%.3f", r)
}
