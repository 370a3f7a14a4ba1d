package conformance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/netpol-agent/netpol-agent/test/e2e/lab"
	"github.com/netpol-agent/netpol-agent/test/e2e/lab/progress"
)

// Choices are the cluster options that a matrix combines.
type Choices struct {
	IPFamilies, ProxyModes, FlannelBackends []string
}

// Combine returns the options of every combination.
func (c Choices) Combine(o Options) []Options {
	var all []Options
	for _, family := range c.IPFamilies {
		for _, mode := range c.ProxyModes {
			for _, backend := range c.FlannelBackends {
				one := o
				one.Lab.IPFamily, one.Lab.ProxyMode, one.Lab.FlannelBackend = family, mode, backend
				all = append(all, one)
			}
		}
	}
	return all
}

// line is the result of one combination.
type line struct {
	options Options
	report  Report
	err     error
}

// ExecuteAll runs Execute for each of the options, one after the other, even if one fails. If there is more than
// one, it writes a table of all. It returns ErrFailed if one failed.
func ExecuteAll(ctx context.Context, dirs lab.Dirs, all []Options, p *progress.Printer) error {
	if len(all) == 0 {
		return errors.New("no combination to run")
	}
	for _, o := range all {
		if err := o.Validate(); err != nil {
			return err
		}
	}
	if len(all) == 1 {
		_, err := Execute(ctx, dirs, all[0], p)
		return err
	}
	var lines []line
	var failed error
	for i, o := range all {
		p.Step("combination %d of %d: %s", i+1, len(all), o.combination())
		report, err := Execute(ctx, dirs, o, p)
		if err != nil {
			p.Step("%s: %v", o.combination(), err)
			failed = ErrFailed
		}
		lines = append(lines, line{o, report, err})
		if err := writeTable(lines); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	p.Step("table: %s", tableFile(all[0]))
	return failed
}

func tableFile(o Options) string {
	return filepath.Join(o.Results, "matrix_"+strings.Join(append([]string{o.Suite}, o.Include...), "-")+"_"+o.Backend+".md")
}

func writeTable(lines []line) error {
	return os.WriteFile(tableFile(lines[0].options), []byte(table(lines)), 0o644)
}

// table returns a table with a line for each run of each combination.
func table(lines []line) string {
	var b strings.Builder
	first := lines[0].options
	fmt.Fprintf(&b, "# Conformance: %s, backend %s\n\n", first.Suite, first.Backend)
	b.WriteString("| IP family | kube-proxy | Flannel | cluster | result | passed | failed | skipped | contradictions | seconds |\n")
	b.WriteString("|---|---|---|---|---|---|---|---|---|---|\n")
	for _, l := range lines {
		prefix := fmt.Sprintf("| %s | %s | %s |", l.options.Lab.IPFamily, l.options.Lab.ProxyMode, l.options.Lab.FlannelBackend)
		for _, r := range l.report.Runs {
			result := "ok"
			if !r.OK() {
				result = "FAILED"
			}
			fmt.Fprintf(&b, "%s %s | %s | %d | %d | %d | %d | %.0f |\n", prefix, r.Cluster, result, r.Passed, r.Failed, r.Skipped, r.Contradicted, r.Seconds)
		}
		if l.err != nil && (len(l.report.Runs) == 0 || !errors.Is(l.err, ErrFailed)) {
			fmt.Fprintf(&b, "%s | FAILED: %s | | | | | |\n", prefix, strings.ReplaceAll(oneLine(l.err.Error()), "|", `\|`))
		}
	}
	return b.String()
}
