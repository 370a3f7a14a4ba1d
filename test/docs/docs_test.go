package docs

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/netpol-agent/netpol-agent/internal/sync/report"
)

const root = "../.."

// page is one Markdown file.
type page struct {
	path string // from the repository's root
	text string
}

// pages returns the README and everything below docs.
func pages(t *testing.T) []page {
	t.Helper()
	paths := []string{"README.md", "charts/netpol-agent/README.md"}
	err := filepath.WalkDir(filepath.Join(root, "docs"), func(path string, _ os.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".md" {
			path, err = filepath.Rel(root, path)
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var out []page
	for _, p := range paths {
		out = append(out, page{p, read(t, p)})
	}
	return out
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// find calls each for every match of a pattern in all pages. match holds the whole match and then the groups.
func find(t *testing.T, pattern string, each func(p page, match []string)) {
	t.Helper()
	re := regexp.MustCompile(pattern)
	n := 0
	for _, p := range pages(t) {
		for _, m := range re.FindAllStringSubmatch(p.text, -1) {
			n++
			each(p, m)
		}
	}
	if n == 0 {
		t.Errorf("nothing in the documents matches %s: the test checks nothing", pattern)
	}
}

var flagPattern = regexp.MustCompile(`(?:^|\s)(--?[a-z][a-z-]*)`)

// TestCommands checks "netpol-agent SUBCOMMAND --flag" against the program's own help.
func TestCommands(t *testing.T) {
	program := filepath.Join(t.TempDir(), "netpol-agent")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../../cmd/netpol-agent").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	helps := map[string]string{}
	help := func(command string) string {
		if _, ok := helps[command]; !ok {
			// An unknown command fails. Its help is "".
			out, err := exec.CommandContext(t.Context(), program, command, "--help").Output()
			if err != nil || !bytes.Contains(out, []byte("netpol-agent "+command)) {
				out = nil
			}
			helps[command] = string(out)
		}
		return helps[command]
	}
	// In code: after a line's indent, a back quote, a quote, a bracket, or the "--" of kubectl exec.
	find(t, "(?m)(?:^    [ ]*|`|\"|\\(|-- )netpol-agent ([a-z]+)((?: [^\n`\"#|;)]*)?)", func(p page, m []string) {
		text := help(m[1])
		if text == "" {
			if m[0][0] != '"' { // prose in quotes, or another program's output
				t.Errorf("%s: there is no command %q (%q)", p.path, m[1], m[0])
			}
			return
		}
		for _, f := range flagPattern.FindAllStringSubmatch(m[2], -1) {
			if !regexp.MustCompile(`(?m)(^|[\s,])` + regexp.QuoteMeta(f[1]) + `([\s,=]|$)`).MatchString(text) {
				t.Errorf("%s: %q has no flag %s", p.path, "netpol-agent "+m[1], f[1])
			}
		}
	})
}

func TestMetrics(t *testing.T) {
	known := map[string]bool{}
	for _, m := range report.NewMetrics("", nil, nil).Definitions() {
		known[m.Name] = true
		if m.Type == report.TypeHistogram {
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				known[m.Name+suffix] = true
			}
		}
	}
	find(t, `\bnetpol_agent_[a-z0-9_]+`, func(p page, m []string) {
		if !known[m[0]] {
			t.Errorf("%s: there is no metric %s", p.path, m[0])
		}
	})
}

// TestEvents checks the documents and the reasons in the code against each other, in both directions.
func TestEvents(t *testing.T) {
	known := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^\tReason\w+\s*= "([A-Z]\w+)"`).FindAllStringSubmatch(read(t, "internal/sync/report/events.go"), -1) {
		known[m[1]] = false
	}
	if len(known) == 0 {
		t.Fatal("no reasons found in the code")
	}
	find(t, "(?:reason=|Events? `)([A-Z][A-Za-z]+)", func(p page, m []string) {
		if _, ok := known[m[1]]; !ok {
			t.Errorf("%s: no Event has the reason %s", p.path, m[1])
		}
	})
	table := read(t, "docs/operate/troubleshooting.md")
	for reason := range known {
		if !strings.Contains(table, "| `"+reason+"` |") {
			t.Errorf("troubleshooting.md does not explain the Event %s", reason)
		}
	}
}

// TestAlerts expects a section for each alert, with its runbook_url leading there, and no mention of an unknown alert.
func TestAlerts(t *testing.T) {
	var file struct {
		Groups []struct {
			Rules []struct {
				Alert       string
				Annotations map[string]string
			}
		}
	}
	if err := yaml.Unmarshal([]byte(read(t, "charts/netpol-agent/files/alerts.yaml")), &file); err != nil {
		t.Fatal(err)
	}
	const path = "docs/operate/troubleshooting.md"
	here := anchors(read(t, path))
	var known []string
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			known = append(known, r.Alert)
			if !here[strings.ToLower(r.Alert)] {
				t.Errorf("%s has no section %s", path, r.Alert)
			}
			if url := r.Annotations["runbook_url"]; url != "" && !strings.HasSuffix(url, path+"#"+strings.ToLower(r.Alert)) {
				t.Errorf("%s: runbook_url %s does not lead to the alert's section", r.Alert, url)
			}
		}
	}
	find(t, `\bNetpolAgent[A-Z]\w+`, func(p page, m []string) {
		if !slices.Contains(known, m[0]) {
			t.Errorf("%s: there is no alert %s", p.path, m[0])
		}
	})
}

// TestChartValues checks "--set a.b=c" against the chart's values.
func TestChartValues(t *testing.T) {
	var values map[string]any
	if err := yaml.Unmarshal([]byte(read(t, "charts/netpol-agent/values.yaml")), &values); err != nil {
		t.Fatal(err)
	}
	find(t, `--set ([A-Za-z.]+)=`, func(p page, m []string) {
		if err := lookup(values, strings.Split(m[1], ".")); err != nil {
			t.Errorf("%s: --set %s: %v", p.path, m[1], err)
		}
	})
}

func lookup(values any, path []string) error {
	for _, key := range path {
		m, ok := values.(map[string]any)
		if ok {
			values, ok = m[key]
		}
		if !ok {
			return fmt.Errorf("the chart has no value %s", key)
		}
	}
	return nil
}

func TestMakeTargets(t *testing.T) {
	targets := map[string]bool{}
	for _, file := range []string{"Makefile", "hack/package.mk"} {
		for _, m := range regexp.MustCompile(`(?m)^([a-z][a-z0-9/-]*):`).FindAllStringSubmatch(read(t, file), -1) {
			targets[m[1]] = true
		}
	}
	find(t, "(?m)(?:^    |`|\")make ([a-z][a-z0-9/-]*)", func(p page, m []string) {
		if !targets[m[1]] {
			t.Errorf("%s: make has no target %q", p.path, m[1])
		}
	})
}

// TestLinks follows links into the repository: to files, and to sections of pages.
func TestLinks(t *testing.T) {
	find(t, `\]\(([^)\s]*)\)`, func(p page, m []string) {
		if strings.Contains(m[1], "://") {
			return
		}
		file, anchor, _ := strings.Cut(m[1], "#")
		path := p.path
		if file != "" {
			path = filepath.Join(filepath.Dir(p.path), file)
		}
		if _, err := os.Stat(filepath.Join(root, path)); err != nil {
			t.Errorf("%s: link to %s: %v", p.path, m[1], err)
			return
		}
		if anchor != "" && !anchors(read(t, path))[anchor] {
			t.Errorf("%s: %s has no section #%s", p.path, path, anchor)
		}
	})
}

// anchors returns the names of a page's sections, as GitHub makes them.
func anchors(text string) map[string]bool {
	out := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(text, -1) {
		name := strings.ToLower(regexp.MustCompile(`[^\w\s-]`).ReplaceAllString(m[1], ""))
		out[strings.ReplaceAll(name, " ", "-")] = true
	}
	return out
}
