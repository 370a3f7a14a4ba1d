// Package report compares figures with their limits and prints them.
//
// It does not decide what is measured. A limit is either met or missed; there is no tolerance.
package report

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
)

// Figure is one measured figure. Limit 0 means that there is none and the figure is for information.
type Figure struct {
	Name string `json:"name"`
	Unit string `json:"unit"`
	// Backend is the backend that was measured, or empty if there is none.
	Backend string `json:"backend,omitempty"`
	// Value is the number to which the limit applies, the median if there are several samples.
	Value float64 `json:"value"`
	// P95 and Max are 0 if there are no samples.
	P95 float64 `json:"p95,omitempty"`
	Max float64 `json:"max,omitempty"`
	// Samples is the number of samples.
	Samples int     `json:"samples,omitempty"`
	Limit   float64 `json:"limit,omitempty"`
	// Note says what else a reader should know.
	Note string `json:"note,omitempty"`
}

// Missed reports whether the figure is over its limit.
func (f Figure) Missed() bool { return f.Limit > 0 && f.Value > f.Limit }

// Try is one measurement of a section's figures.
type Try struct {
	Section string `json:"section"`
	// Backend is the backend that was measured, or empty if the section compares them.
	Backend string   `json:"backend,omitempty"`
	Notes   []string `json:"notes,omitempty"`
	Number  int      `json:"try"`
	Load    string   `json:"load"`
	Figures []Figure `json:"figures"`
}

// Missed returns the figures that are over their limits.
func (t Try) Missed() []Figure {
	var out []Figure
	for _, f := range t.Figures {
		if f.Missed() {
			out = append(out, f)
		}
	}
	return out
}

// Report is a whole run.
type Report struct {
	Environment Environment `json:"environment"`
	Size        any         `json:"size"`
	Tries       []Try       `json:"tries"`
}

// last returns the last try of each section and backend, in the order in which they were measured.
func (r *Report) last() []Try {
	at := map[string]int{}
	var out []Try
	for _, t := range r.Tries {
		key := t.name()
		if i, ok := at[key]; ok {
			out[i] = t
			continue
		}
		at[key] = len(out)
		out = append(out, t)
	}
	return out
}

// Misses returns, one line each, the limits that were missed in the last try of their section.
func (r *Report) Misses() []string {
	var out []string
	for _, t := range r.last() {
		for _, f := range t.Missed() {
			out = append(out, fmt.Sprintf("%s: %s: %s, limit %s", t.name(), f.label(), show(f.Value, f.Unit), show(f.Limit, f.Unit)))
		}
	}
	return out
}

// name returns the name of what is measured.
func (t Try) name() string {
	if t.Backend == "" {
		return t.Section
	}
	return t.Section + ", " + t.Backend
}

// label returns a figure's name in a table of one try.
func (f Figure) label() string {
	if f.Backend == "" {
		return f.Name
	}
	return f.Name + ", " + f.Backend
}

// JSON writes the whole report.
func (r *Report) JSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(struct {
		*Report
		Missed []string `json:"missed"`
	}{r, r.Misses()})
}

// Print writes one try as a table.
func (t Try) Print(w io.Writer) {
	fmt.Fprintf(w, "\n%s (try %d, load %s)\n", t.name(), t.Number, t.Load)
	for _, note := range t.Notes {
		fmt.Fprintf(w, "  %s\n", note)
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	defer func() { _ = tw.Flush() }()
	fmt.Fprint(tw, "  \tmedian\tp95\tmax\tlimit\tverdict\tsamples\t\n")
	for _, f := range t.Figures {
		limit, verdict := "", ""
		if f.Limit > 0 {
			limit, verdict = show(f.Limit, f.Unit), "met"
		}
		if f.Missed() {
			verdict = "MISSED"
		}
		samples := ""
		if f.Samples > 0 {
			samples = fmt.Sprint(f.Samples)
		}
		fmt.Fprintf(tw, "  %s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", f.label(), show(f.Value, f.Unit),
			unless0(f.P95, f.Unit), unless0(f.Max, f.Unit), limit, verdict, samples, f.Note)
	}
}

func unless0(v float64, unit string) string {
	if v == 0 {
		return ""
	}
	return show(v, unit)
}

// show formats a value with as many digits as are significant.
func show(v float64, unit string) string {
	switch unit {
	case Ratio:
		return fmt.Sprintf("%.4f", v)
	case MiB:
		return fmt.Sprintf("%.1f %s", v, unit)
	case "":
		return fmt.Sprintf("%.0f", v)
	default:
		return fmt.Sprintf("%.2f %s", v, unit)
	}
}

// Units of figures. A figure without a unit is a count.
const (
	Ratio = "ratio"
	MiB   = "MiB"
	Msec  = "ms"
	Usec  = "us"
)
