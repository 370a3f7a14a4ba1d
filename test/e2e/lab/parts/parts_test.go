package parts

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

// source is where the parts' modules are kept.
const source = "../../parts"

func recipe(t *testing.T, p Part) Recipe {
	t.Helper()
	r, err := ReadRecipe(p, filepath.Join(source, p.Name), "go1.26.0", "amd64")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestCatalogIsPinned(t *testing.T) {
	all := slices.Concat(Catalog(), Optional())
	for _, p := range all {
		r := recipe(t, p)
		if !strings.HasPrefix(r.Release, "v") {
			t.Errorf("%s: release %q", p.Name, r.Release)
		}
		// Every program is a tool of the part's module: go.sum then covers all it imports.
		for _, prog := range slices.Concat(p.Programs, p.Tests) {
			if !strings.Contains(r.Files["go.mod"], prog.Package+"\n") {
				t.Errorf("%s: go.mod has no tool %s", p.Name, prog.Package)
			}
		}
	}
	for _, p := range all {
		// A source that is not listed could change without causing another build.
		files, err := filepath.Glob(filepath.Join(source, p.Name, "*", "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		r := recipe(t, p)
		for _, file := range files {
			name, err := filepath.Rel(filepath.Join(source, p.Name), file)
			if err != nil {
				t.Fatal(err)
			}
			if r.Files[name] == "" {
				t.Errorf("%s: a change of %s does not cause another build", p.Name, name)
			}
		}
	}
	folders, err := os.ReadDir(source)
	if err != nil {
		t.Fatal(err)
	}
	if len(folders) != len(all) {
		t.Errorf("%d folders for %d parts", len(folders), len(all))
	}
}

func TestStampFollowsEveryInput(t *testing.T) {
	base := recipe(t, Catalog()[0])
	want, err := base.Stamp()
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := recipe(t, Catalog()[0]).Stamp(); again != want {
		t.Errorf("equal recipes, stamps %s and %s", want, again)
	}
	changes := map[string]func(*Recipe){
		"go.mod":  func(r *Recipe) { r.Files["go.mod"] += "\n" },
		"go.sum":  func(r *Recipe) { r.Files["go.sum"] += "\n" },
		"go":      func(r *Recipe) { r.GoVersion = "go1.99" },
		"arch":    func(r *Recipe) { r.GoArch = "arm64" },
		"tags":    func(r *Recipe) { r.Part.Tags = []string{"x"} },
		"program": func(r *Recipe) { r.Part.Programs = r.Part.Programs[:1] },
		"tests":   func(r *Recipe) { r.Part.Tests = []Program{{"x", "y"}} },
		"release": func(r *Recipe) { r.Release = "v0" },
		"replace": func(r *Recipe) { r.Part.Replace = map[string]string{"a": ""} },
	}
	seen := map[string]string{want: "base"}
	for name, change := range changes {
		r := base
		r.Files = maps.Clone(base.Files)
		change(&r)
		got, err := r.Stamp()
		if err != nil {
			t.Fatal(err)
		}
		if other, clash := seen[got]; clash {
			t.Errorf("a change of %s has the stamp of %s", name, other)
		}
		seen[got] = name
	}
}

func TestPinned(t *testing.T) {
	const goMod = "module x\n\nrequire a.example/b v1.0.0\n\nrequire (\n\ta.example/c/v2 v2.3.4 // indirect\n\ta.example/cc v9.0.0\n)\n"
	for module, want := range map[string]string{"a.example/b": "v1.0.0", "a.example/c/v2": "v2.3.4", "a.example/cc": "v9.0.0"} {
		if got, err := pinned(goMod, module); err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", module, got, err, want)
		}
	}
	if got, err := pinned(goMod, "a.example/c"); err == nil {
		t.Errorf("a module that is not required has version %q", got)
	}
}

func TestBuiltName(t *testing.T) {
	for pkg, want := range map[string]string{
		"k8s.io/kubernetes/cmd/kubelet": "kubelet",
		"go.etcd.io/etcd/server/v3":     "server",
		"example.com/cmd/vet":           "vet",
	} {
		if got := builtName(pkg); got != want {
			t.Errorf("%s: %q, want %q", pkg, got, want)
		}
	}
}

func TestCountKeepsWhatIsNotProgress(t *testing.T) {
	var compiled, downloaded atomic.Int64
	rest := count(strings.NewReader("go: downloading a v1\nexample.com/a\nexample.com/b\n# example.com/c\nc.go:1:1: undefined: x\n"), &compiled, &downloaded)
	if compiled.Load() != 2 || downloaded.Load() != 1 {
		t.Errorf("compiled %d, downloaded %d", compiled.Load(), downloaded.Load())
	}
	if rest != "# example.com/c\nc.go:1:1: undefined: x" {
		t.Errorf("rest = %q", rest)
	}
}
