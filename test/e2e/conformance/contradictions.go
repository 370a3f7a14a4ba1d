package conformance

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

//go:embed contradictions.yaml
var contradictionsFile []byte

// contradictions lists where Cyclonus expects something that NetworkPolicy does not mean.
type contradictions struct {
	// Self is the reason why a pod's connections to itself are not compared with Cyclonus's expectation.
	Self string `json:"self"`
	// Cases are the cases that cannot pass.
	Cases []contradiction `json:"cases"`
}

type contradiction struct {
	// Case is the case's name, as in reports.
	Case   string `json:"case"`
	Reason string `json:"reason"`
	// Steps are the cells that differ from the expectation, for each step of the case.
	Steps [][]cell `json:"steps"`
}

// cell is a connection between two pods, as Cyclonus expected and observed it.
type cell struct {
	From     string `json:"from"`
	To       string `json:"to"`
	Port     string `json:"port"`
	Expected string `json:"expected"`
	Observed string `json:"observed"`
}

func (c cell) String() string {
	return fmt.Sprintf("%s -> %s %s: expected %s, observed %s", c.From, c.To, c.Port, c.Expected, c.Observed)
}

// readContradictions reads the list. An entry without a name, reason or cells is an error.
func readContradictions(data []byte) (contradictions, error) {
	var all contradictions
	if err := yaml.UnmarshalStrict(data, &all); err != nil {
		return all, fmt.Errorf("list of contradictions: %w", err)
	}
	for _, c := range all.Cases {
		if c.Case == "" || strings.TrimSpace(c.Reason) == "" || len(slices.Concat(c.Steps...)) == 0 {
			return all, fmt.Errorf("list of contradictions: %q needs a reason and cells", c.Case)
		}
	}
	return all, nil
}

// judge returns the outcome of a case from Cyclonus's result, and the number of cells in which a pod reached itself
// although the opposite was expected.
func (all contradictions) judge(r cyclonusResult) (out Case, self int) {
	out = Case{Name: r.name(), Outcome: Passed, Seconds: r.Seconds}
	fail := func(format string, args ...any) (Case, int) {
		out.Outcome, out.Message = Failed, fmt.Sprintf(format, args...)
		return out, self
	}
	if r.Error != "" {
		return fail("%s", r.Error)
	}
	if len(r.Steps) == 0 {
		return fail("nothing was probed")
	}
	var steps [][]cell
	differs := false
	for _, s := range r.Steps {
		wrong, reached := s.split()
		self += reached
		steps = append(steps, wrong)
		differs = differs || len(wrong) > 0
	}
	i := slices.IndexFunc(all.Cases, func(c contradiction) bool { return c.Case == out.Name })
	if i < 0 {
		if differs {
			return fail("%s", describe(steps))
		}
		return out, self
	}
	if listed := all.Cases[i]; !equalSteps(steps, listed.Steps) {
		return fail("listed as a contradiction, but it does not differ as described there: %s", describe(steps))
	}
	out.Outcome, out.Message = Contradicted, all.Cases[i].Reason
	return out, self
}

// split returns the wrong cells, and the number of cells in which a pod reached itself.
func (s cyclonusStep) split() (wrong []cell, self int) {
	for _, c := range s.Notable {
		if c.From == c.To && c.Observed == "allowed" {
			self++
			continue
		}
		wrong = append(wrong, c)
	}
	return wrong, self
}

// equalSteps compares without regard to the order of cells within a step.
func equalSteps(a, b [][]cell) bool {
	order := func(x, y cell) int { return strings.Compare(x.String(), y.String()) }
	return slices.EqualFunc(a, b, func(x, y []cell) bool {
		return slices.Equal(slices.SortedFunc(slices.Values(x), order), slices.SortedFunc(slices.Values(y), order))
	})
}

// describe lists the cells of each step.
func describe(steps [][]cell) string {
	var parts []string
	for i, cells := range steps {
		for _, c := range cells {
			parts = append(parts, fmt.Sprintf("step %d: %s", i+1, c))
		}
	}
	if len(parts) == 0 {
		return "every cell is as expected"
	}
	return strings.Join(parts, "; ")
}
