package report

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// PrintBackends writes the figures of the last try of each section with the backends as columns. A value that has a
// limit is followed by it.
func (r *Report) PrintBackends(w io.Writer, backends []string) {
	fmt.Fprint(w, "\nside by side: value (limit)\n")
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	defer func() { _ = tw.Flush() }()
	fmt.Fprint(tw, "  \t")
	for _, b := range backends {
		fmt.Fprintf(tw, "%s\t", b)
	}
	fmt.Fprintln(tw)
	for _, row := range r.rows() {
		fmt.Fprintf(tw, "  %s\t", row.name)
		for _, b := range backends {
			cell := "-"
			if f, ok := row.figures[b]; ok {
				cell = f.cell()
			}
			fmt.Fprintf(tw, "%s\t", cell)
		}
		fmt.Fprintln(tw)
	}
}

// row is a figure of several backends.
type row struct {
	name    string
	figures map[string]Figure
}

// rows returns the figures of backends, by section and name, in the order in which they first appear.
func (r *Report) rows() []row {
	at := map[string]int{}
	var out []row
	for _, t := range r.last() {
		for _, f := range t.Figures {
			backend := t.Backend + f.Backend // one of them is empty
			if backend == "" {
				continue
			}
			key := t.Section + ": " + f.Name
			if _, ok := at[key]; !ok {
				at[key] = len(out)
				out = append(out, row{key, map[string]Figure{}})
			}
			out[at[key]].figures[backend] = f
		}
	}
	return out
}

func (f Figure) cell() string {
	s := show(f.Value, f.Unit)
	if f.Limit > 0 {
		s += " (" + show(f.Limit, f.Unit) + ")"
	}
	if f.Missed() {
		s += " MISSED"
	}
	return s
}
