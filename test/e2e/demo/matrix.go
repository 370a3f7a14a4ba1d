package demo

import (
	"fmt"
	"io"
	"strings"
)

// outcome is what one cell of the matrix shows for one port.
type outcome byte

const (
	open    outcome = '+' // passes, as expected
	closed  outcome = '.' // does not pass, as expected
	leak    outcome = 'L' // passes, but should not
	blocked outcome = 'B' // does not pass, but should
)

func judge(expected, observed bool) outcome {
	switch {
	case expected && observed:
		return open
	case !expected && !observed:
		return closed
	case observed:
		return leak
	default:
		return blocked
	}
}

func (o outcome) wrong() bool { return o == leak || o == blocked }

// worse returns the outcome that needs attention. It is used when one cell stands for several probes.
func worse(a, b outcome) outcome {
	if a.wrong() || a == b {
		return a
	}
	return b
}

// matrix holds the outcome of every probe by row, column and port.
type matrix struct {
	rows, columns []string
	ports         []port
	cells         map[[2]string][]outcome
}

func newMatrix(rows, columns []string, ports []port) *matrix {
	return &matrix{rows: rows, columns: columns, ports: ports, cells: map[[2]string][]outcome{}}
}

// put records an outcome. A second one for the same cell (through the Service) shows only if it is wrong.
func (m *matrix) put(row, column string, portIndex int, o outcome) {
	key := [2]string{row, column}
	if m.cells[key] == nil {
		m.cells[key] = make([]outcome, len(m.ports))
	}
	if old := m.cells[key][portIndex]; old != 0 {
		o = worse(old, o)
	}
	m.cells[key][portIndex] = o
}

const (
	green = "\x1b[32m"
	grey  = "\x1b[90m"
	red   = "\x1b[1;41m"
	reset = "\x1b[0m"
)

func paint(o outcome, colours bool) string {
	if !colours || o == 0 {
		return strings.TrimRight(string(rune(o)), "\x00")
	}
	colour := map[outcome]string{open: green, closed: grey, leak: red, blocked: red}[o]
	return colour + string(rune(o)) + reset
}

// print writes the matrix: a row for each source, a column for each destination, in each cell a sign for each
// port.
func (m *matrix) print(w io.Writer, colours bool) {
	names := make([]string, len(m.ports))
	for i, p := range m.ports {
		names[i] = fmt.Sprintf("%s/%d", p.protocol, p.number)
	}
	fmt.Fprintf(w, "  in each cell: %s   (+ passes, . does not, L leak, B blocked)\n", strings.Join(names, " "))
	label := 0
	for _, r := range m.rows {
		label = max(label, len(r))
	}
	for i, c := range m.columns {
		fmt.Fprintf(w, "  %*s  %s%s\n", label, "", strings.Repeat(pad("|", len(m.ports)), i), c)
	}
	for _, r := range m.rows {
		fmt.Fprintf(w, "  %-*s  ", label, r)
		for _, c := range m.columns {
			for _, o := range m.cells[[2]string{r, c}] {
				fmt.Fprint(w, paint(o, colours))
			}
			fmt.Fprint(w, strings.Repeat(" ", 1+missing(m.cells[[2]string{r, c}], len(m.ports))))
		}
		fmt.Fprintln(w)
	}
}

func pad(s string, ports int) string { return s + strings.Repeat(" ", ports) }

func missing(cell []outcome, ports int) int { return ports - len(cell) }
