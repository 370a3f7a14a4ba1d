// Package golden keeps the rulesets of example policies, for a person to read and judge, and proves that the
// kernel accepts each as it is. After a change of the layout, run the tests with -update and read the difference.
package golden

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/netpol-agent/netpol-agent/internal/compiler"
	"github.com/netpol-agent/netpol-agent/internal/manifest"
	"github.com/netpol-agent/netpol-agent/internal/render/nft"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/ruleset"
)

const (
	examples = "../../examples/policies"
	table    = "netpol-agent"
)

var update = flag.Bool("update", false, "update the golden files")

// Files of a case, in their order.
const (
	policyFile = "policy.yaml"
	// extraFile is optional: objects that this case has besides the common cluster.
	extraFile  = "cluster.yaml"
	reportFile = "report.txt"
	rulesFile  = "ruleset.nft"
)

// TestGolden compares each case with the current output.
func TestGolden(t *testing.T) {
	for _, path := range cases(t) {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			a := read(t, path)
			policy := fromExamples(t, path, a)
			rules, report := render(t, policy, file(a, extraFile))
			want := &txtar.Archive{Comment: a.Comment}
			add := func(name, data string) {
				if data != "" {
					want.Files = append(want.Files, txtar.File{Name: name, Data: []byte(data)})
				}
			}
			add(policyFile, policy)
			add(extraFile, file(a, extraFile))
			add(reportFile, report)
			add(rulesFile, rules.Text(table))
			if *update {
				if err := os.WriteFile(path, txtar.Format(want), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			for _, f := range want.Files {
				if got := file(a, f.Name); got != string(f.Data) {
					t.Errorf("%s differs; run \"go test ./test/golden -update\" and read the difference\n--- golden\n%s\n--- now\n%s", f.Name, got, f.Data)
				}
			}
		})
	}
}

// TestEveryExampleHasAGolden expects a case for every example.
func TestEveryExampleHasAGolden(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(examples, "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".yaml") + ".txtar"
		if _, err := os.Stat(filepath.Join("testdata", name)); err != nil {
			t.Errorf("%s has no golden case: %v", f, err)
		}
	}
}

func cases(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	return paths
}

func read(t *testing.T, path string) *txtar.Archive {
	t.Helper()
	a, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func file(a *txtar.Archive, name string) string {
	for _, f := range a.Files {
		if f.Name == name {
			return string(f.Data)
		}
	}
	return ""
}

// fromExamples returns the example that the case is named after, or the case's own policy if there is none.
func fromExamples(t *testing.T, path string, a *txtar.Archive) string {
	t.Helper()
	name := strings.TrimSuffix(filepath.Base(path), ".txtar") + ".yaml"
	data, err := os.ReadFile(filepath.Join(examples, name))
	if os.IsNotExist(err) {
		return file(a, policyFile)
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// render returns node1's ruleset, and what the reader and the compiler report about the objects.
func render(t *testing.T, policy, extra string) (*ruleset.Ruleset, string) {
	t.Helper()
	c := compiler.New(compiler.Options{Node: "node1"})
	var report strings.Builder
	for _, in := range []struct{ name, data string }{
		{"testdata/cluster.yaml", mustRead(t, "testdata/cluster.yaml")}, {extraFile, extra}, {policyFile, policy},
	} {
		objects, problems := manifest.Read(in.name, []byte(in.data), manifest.Options{})
		for _, p := range problems {
			fmt.Fprintln(&report, p)
		}
		for _, o := range objects.Namespaces {
			c.SetNamespace(o)
		}
		for _, o := range objects.Pods {
			c.SetPod(o)
		}
		for _, o := range objects.Policies {
			c.SetPolicy(o)
		}
	}
	for _, d := range c.Diagnostics() {
		fmt.Fprintln(&report, d)
	}
	return nft.Render(c.Program()), report.String()
}

func mustRead(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
