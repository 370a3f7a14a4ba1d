package conformance

import (
	"encoding/xml"
	"fmt"
	"os"
	"strings"
)

// Outcome is how a case ended.
type Outcome string

// The outcomes.
const (
	Passed  Outcome = "passed"
	Failed  Outcome = "failed"
	Skipped Outcome = "skipped"
	// Contradicted is a case that expects something NetworkPolicy does not mean, and whose other expectations all
	// hold.
	Contradicted Outcome = "contradiction"
)

// Case is the result of one case.
type Case struct {
	Name    string  `json:"name"`
	Outcome Outcome `json:"outcome"`
	Seconds float64 `json:"seconds"`
	// Message is the suite's reason for a failure, or ours for a contradiction.
	Message string `json:"message,omitempty"`
}

// junitFile is the part of the suites' results that is read. Their dialects of the JUnit format agree on it.
type junitFile struct {
	// Suites is set in a file with several suites, Cases in a file with one.
	Suites []junitSuite `xml:"testsuite"`
	Cases  []junitCase  `xml:"testcase"`
}

type junitSuite struct {
	Cases []junitCase `xml:"testcase"`
}

type junitCase struct {
	Name    string      `xml:"name,attr"`
	Seconds float64     `xml:"time,attr"`
	Status  string      `xml:"status,attr"`
	Skipped *struct{}   `xml:"skipped"`
	Failure *junitFault `xml:"failure"`
	Error   *junitFault `xml:"error"`
}

type junitFault struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// readJUnit reads a suite's results. Nodes that are not cases, such as a suite's set-up, are included only if they
// failed.
func readJUnit(file string) ([]Case, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("results of the suite: %w", err)
	}
	var parsed junitFile
	if err := xml.Unmarshal(data, &parsed); err != nil {
		return nil, fmt.Errorf("results of the suite: %s: %w", file, err)
	}
	var cases []Case
	for _, s := range append(parsed.Suites, junitSuite{Cases: parsed.Cases}) {
		for _, c := range s.Cases {
			r := c.result()
			if isCase(r.Name) || r.Outcome == Failed {
				cases = append(cases, r)
			}
		}
	}
	return cases, nil
}

// isCase reports whether the name is that of a case. Ginkgo also lists the nodes around the cases, by their kind in
// brackets.
func isCase(name string) bool {
	for _, kind := range []string{"BeforeSuite", "AfterSuite", "SynchronizedBeforeSuite", "SynchronizedAfterSuite", "ReportBeforeSuite", "ReportAfterSuite", "DeferCleanup"} {
		if strings.HasPrefix(name, "["+kind) {
			return false
		}
	}
	return true
}

func (c junitCase) result() Case {
	r := Case{Name: strings.TrimPrefix(c.Name, "[It] "), Seconds: c.Seconds, Outcome: Passed}
	for _, fault := range []*junitFault{c.Failure, c.Error} {
		if fault == nil {
			continue
		}
		r.Outcome = Failed
		if r.Message = fault.Message; r.Message == "" {
			r.Message = strings.TrimSpace(fault.Text)
		}
	}
	if r.Outcome == Passed && (c.Skipped != nil || c.Status == "skipped" || c.Status == "pending") {
		r.Outcome = Skipped
	}
	return r
}
