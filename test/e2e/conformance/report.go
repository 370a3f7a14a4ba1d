package conformance

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Report is the report about a combination of suite and cluster.
type Report struct {
	Suite string `json:"suite"`
	// Release is the release that ran. LeftOut says which of its cases did not run, and why.
	Release string `json:"release"`
	LeftOut string `json:"leftOut"`
	// Agent is the agent's version.
	Agent          string `json:"agent"`
	Backend        string `json:"backend"`
	IPFamily       string `json:"ipFamily"`
	ProxyMode      string `json:"proxyMode"`
	FlannelBackend string `json:"flannelBackend"`
	Nodes          int    `json:"nodes"`
	// Parallel is how many cases ran at a time.
	Parallel int   `json:"parallel"`
	Runs     []Run `json:"runs"`
}

// Run is one run of the suite.
type Run struct {
	// Cluster is "fresh", or "used" if a suite has run on it before.
	Cluster string    `json:"cluster"`
	Started time.Time `json:"started"`
	Seconds float64   `json:"seconds"`
	Passed  int       `json:"passed"`
	Failed  int       `json:"failed"`
	Skipped int       `json:"skipped"`
	// Contradicted counts the cases that expect something NetworkPolicy does not mean.
	Contradicted int `json:"contradicted"`
	// FailedNames are the names of the cases that failed.
	FailedNames []string `json:"failedNames"`
	// Trouble is what went wrong besides the cases, such as a suite that did not finish or an agent that stopped.
	Trouble []string `json:"trouble"`
	// Notes are contradictions that concern no single case.
	Notes []string `json:"notes,omitempty"`
	Cases []Case   `json:"cases"`
}

// newRun returns a run with its cases counted.
func newRun(cluster string, started time.Time, took time.Duration, cases []Case, trouble []string) Run {
	r := Run{
		Cluster: cluster, Started: started.UTC(), Seconds: took.Seconds(),
		Passed: count(cases, Passed), Failed: count(cases, Failed), Skipped: count(cases, Skipped),
		Contradicted: count(cases, Contradicted),
		FailedNames:  []string{}, Trouble: trouble, Cases: cases,
	}
	for _, c := range cases {
		if c.Outcome == Failed {
			r.FailedNames = append(r.FailedNames, c.Name)
		}
	}
	if r.Passed == 0 {
		r.Trouble = append(r.Trouble, "no case passed")
	}
	return r
}

// OK reports whether the run passed: cases ran, none failed and nothing else went wrong.
func (r Run) OK() bool { return r.Passed > 0 && r.Failed == 0 && len(r.Trouble) == 0 }

func (r Run) String() string {
	return fmt.Sprintf("%s cluster: %d passed, %d failed, %d skipped, %d contradictions in %.0f s",
		r.Cluster, r.Passed, r.Failed, r.Skipped, r.Contradicted, r.Seconds)
}

// OK reports whether there is a run and every run is OK.
func (r Report) OK() bool {
	for _, run := range r.Runs {
		if !run.OK() {
			return false
		}
	}
	return len(r.Runs) > 0
}

// write writes the report to base.json and base.md.
func (r Report) write(base string) error {
	if err := os.MkdirAll(filepath.Dir(base), 0o755); err != nil {
		return err
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(base+".json", append(data, '\n'), 0o644); err != nil {
		return err
	}
	return os.WriteFile(base+".md", []byte(r.Markdown()), 0o644)
}

// Markdown returns the report for people to read.
func (r Report) Markdown() string {
	var b strings.Builder
	result := "passed"
	if !r.OK() {
		result = "FAILED"
	}
	fmt.Fprintf(&b, "# Conformance: %s, %s\n\n", r.Suite, result)
	fmt.Fprintf(&b, "| suite | release | agent | backend | IP family | kube-proxy | Flannel | nodes | at a time |\n|---|---|---|---|---|---|---|---|---|\n")
	fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s | %d | %d |\n\n", r.Suite, r.Release, r.Agent, r.Backend, r.IPFamily, r.ProxyMode, r.FlannelBackend, r.Nodes, r.Parallel)
	if r.LeftOut != "" {
		fmt.Fprintf(&b, "Not run: %s.\n\n", r.LeftOut)
	}
	b.WriteString("| run | cluster | started (UTC) | passed | failed | skipped | contradictions | seconds |\n|---|---|---|---|---|---|---|---|\n")
	for i, run := range r.Runs {
		fmt.Fprintf(&b, "| %d | %s | %s | %d | %d | %d | %d | %.0f |\n", i+1, run.Cluster, run.Started.Format(time.DateTime), run.Passed, run.Failed, run.Skipped, run.Contradicted, run.Seconds)
	}
	for i, run := range r.Runs {
		r.writeTrouble(&b, i+1, run)
		writeContradictions(&b, i+1, run)
	}
	r.writeCases(&b)
	return b.String()
}

func (r Report) writeTrouble(b *strings.Builder, number int, run Run) {
	if run.OK() {
		return
	}
	writeSection(b, fmt.Sprintf("What went wrong in run %d", number), run.Trouble, run.Cases, Failed)
}

// writeContradictions lists where the suite expects something NetworkPolicy does not mean.
func writeContradictions(b *strings.Builder, number int, run Run) {
	if len(run.Notes) == 0 && run.Contradicted == 0 {
		return
	}
	writeSection(b, fmt.Sprintf("Contradictions in run %d", number), run.Notes, run.Cases, Contradicted)
}

// writeSection lists the lines about the whole run, then the cases with this outcome.
func writeSection(b *strings.Builder, title string, lines []string, cases []Case, outcome Outcome) {
	fmt.Fprintf(b, "\n## %s\n\n", title)
	for _, l := range lines {
		fmt.Fprintf(b, "- %s\n", oneLine(l))
	}
	for _, c := range cases {
		if c.Outcome == outcome {
			fmt.Fprintf(b, "- %s: %s\n", c.Name, oneLine(c.Message))
		}
	}
}

// writeCases lists every case with its time in each run.
func (r Report) writeCases(b *strings.Builder) {
	b.WriteString("\n## Cases\n\n| case |")
	var names []string
	cells := map[string][]string{}
	for i, run := range r.Runs {
		fmt.Fprintf(b, " run %d |", i+1)
		for _, c := range run.Cases {
			if cells[c.Name] == nil {
				names = append(names, c.Name)
				cells[c.Name] = make([]string, len(r.Runs))
			}
			cells[c.Name][i] = fmt.Sprintf("%s, %.1f s", c.Outcome, c.Seconds)
		}
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(r.Runs)) + "\n")
	for _, name := range names {
		fmt.Fprintf(b, "| %s | %s |\n", strings.ReplaceAll(name, "|", `\|`), strings.Join(cells[name], " | "))
	}
}

// oneLine returns the beginning of a text as one line.
func oneLine(text string) string {
	const limit = 1000
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > limit {
		text = strings.ToValidUTF8(text[:limit], "") + " ..."
	}
	return text
}
