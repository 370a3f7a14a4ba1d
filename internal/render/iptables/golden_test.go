package iptables_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/netpol-agent/netpol-agent/internal/compiler"
	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/manifest"
	"github.com/netpol-agent/netpol-agent/internal/render/iptables"
)

var update = flag.Bool("update", false, "write what the code renders to the golden files")

// cases is the directory of the nftables backend's cases.
const cases = "../../../test/golden/testdata"

// compiled returns node1's program of a case.
func compiled(t *testing.T, path string) *program.Program {
	t.Helper()
	common, err := os.ReadFile(filepath.Join(cases, "cluster.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	archive, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	c := compiler.New(compiler.Options{Node: "node1"})
	for _, f := range append([]txtar.File{{Name: "cluster.yaml", Data: common}}, archive.Files...) {
		if !strings.HasSuffix(f.Name, ".yaml") {
			continue
		}
		objects, _ := manifest.Read(f.Name, f.Data, manifest.Options{})
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
	return c.Program()
}

func goldens(t *testing.T) map[string]*program.Program {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(cases, "*.txtar"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	out := map[string]*program.Program{}
	for _, path := range paths {
		out[strings.TrimSuffix(filepath.Base(path), ".txtar")] = compiled(t, path)
	}
	return out
}

// TestGolden compares the rules of each case with the golden text. After a change of the layout, run it with -update and
// read the difference.
func TestGolden(t *testing.T) {
	for name, p := range goldens(t) {
		path := filepath.Join("testdata", name+".rules")
		got := iptables.Render(p).Text()
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s differs; go test -run TestGolden -update\n--- golden\n%s\n--- now\n%s", path, want, got)
		}
	}
}

// TestKernelTakesEveryGolden loads one case after another into the same namespace, each replacing the previous one, and
// expects to read back exactly what was written.
func TestKernelTakesEveryGolden(t *testing.T) {
	eachVariant(t, func(t *testing.T, k inNS) {
		for name, p := range goldens(t) {
			r := iptables.New(k, everyTime)
			if _, err := r.Sync(p); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			noDrift(t, r)
			if stats := sync(t, k, p); stats.Ops != 0 {
				t.Errorf("%s: a restart changed %+v", name, stats)
			}
		}
	})
}
