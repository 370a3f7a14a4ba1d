// Command against compares figures that the benchmarks of two versions wrote as JSON:
//
//	against -base a1.json,a2.json -now b1.json,b2.json
//
// It exits with status 1 if a figure is worse than in the base by more than its unit's tolerance and by more than the
// base's own measurements lie apart. It measures nothing; hack/bench-against.sh does.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/netpol-agent/netpol-agent/test/bench/report"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "against:", err)
		os.Exit(1)
	}
}

func run() error {
	base := flag.String("base", "", "comma-separated files of the version to compare with")
	now := flag.String("now", "", "comma-separated files of the version under test")
	flag.Parse()
	old, err := read(*base)
	if err != nil {
		return err
	}
	current, err := read(*now)
	if err != nil {
		return err
	}
	compared := report.Compare(old, current)
	if len(compared) == 0 {
		return errors.New("the versions have no figure in common")
	}
	if worse := report.PrintComparisons(os.Stdout, compared); worse > 0 {
		return fmt.Errorf("%d of %d figures are worse", worse, len(compared))
	}
	fmt.Printf("\nnone of %d figures is worse\n", len(compared))
	return nil
}

func read(files string) ([]report.Report, error) {
	var out []report.Report
	for name := range strings.SplitSeq(files, ",") {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		var r report.Report
		if err := json.Unmarshal(data, &r); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out = append(out, r)
	}
	return out, nil
}
