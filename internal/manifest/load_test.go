package manifest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// write makes a file below dir, with the directories that it needs.
func write(t *testing.T, dir, name, content string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func namespaceYAML(name string) string {
	return "apiVersion: v1\nkind: Namespace\nmetadata: {name: " + name + "}\n"
}

func TestLoadDirectory(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "b.yml", namespaceYAML("b"))
	write(t, dir, "a.yaml", namespaceYAML("a"))
	write(t, dir, "sub/deep/c.json", `{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "c"}}`)
	write(t, dir, "notes.txt", "no: [yaml")
	write(t, dir, ".hidden/d.yaml", namespaceYAML("d"))
	write(t, dir, ".e.yaml", namespaceYAML("e"))
	write(t, dir, "z.yaml", "kind: [\n")
	if err := os.Symlink(filepath.Join(dir, "a.yaml"), filepath.Join(dir, "link.yaml")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "folder.yaml"), 0o755); err != nil {
		t.Fatal(err)
	}
	o, problems, err := Load([]string{dir}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"Namespace a", "Namespace b", "Namespace c"}, names(o)); diff != "" {
		t.Errorf("loaded (-want +got):\n%s", diff)
	}
	var where []string
	for _, p := range problems {
		where = append(where, p.Severity.String()+" "+strings.TrimPrefix(p.File, dir))
	}
	if diff := cmp.Diff([]string{"replaced /a.yaml", "refused /z.yaml"}, where); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

func TestLoadStdinAndOrder(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "first.txt", namespaceYAML("x")+"  # no suffix is needed for a file that is named\n")
	o, problems, err := Load([]string{filepath.Join(dir, "first.txt"), Stdin}, Options{Stdin: strings.NewReader(namespaceYAML("x"))})
	if err != nil {
		t.Fatal(err)
	}
	if len(o.Namespaces) != 1 || len(problems) != 1 || !strings.Contains(problems[0].Message, "replaced by -:1") {
		t.Errorf("namespaces %v, problems %v: the later path must replace the earlier", names(o), problems)
	}
}

func TestLoadErrors(t *testing.T) {
	empty, big := t.TempDir(), t.TempDir()
	write(t, big, "big.yaml", strings.Repeat("# \n", 1<<20))
	for _, tt := range []struct {
		name, path string
		opts       Options
		want       string
	}{
		{"no such file", filepath.Join(empty, "x.yaml"), Options{}, "no such file or directory"},
		{"nothing in the directory", empty, Options{}, "no *.yaml, *.yml or *.json file in this directory"},
		{"too large", big, Options{MaxBytes: 1 << 20}, "larger than 1 MiB: split it"},
		{"no standard input", Stdin, Options{}, "no standard input to read"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o, _, err := Load([]string{tt.path}, tt.opts)
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), tt.path) {
				t.Errorf("error %v, want %q and the path", err, tt.want)
			}
			if o != nil {
				t.Error("objects given beside an error")
			}
		})
	}
}

// The examples are the first manifests that a user reads: all must load, except the two that show refusals.
func TestExamples(t *testing.T) {
	dir := filepath.Join("..", "..", "examples", "policies")
	files, err := directory(dir)
	if err != nil {
		t.Fatal(err)
	}
	refused := map[string][]string{
		"12-malformed.yaml": {
			"spec.ingress[0].from[0].namespacesSelector",
			"spec.policyType",
			"spec.policyTypes",
		},
		"13-cluster-wide-default.yaml": {""},
	}
	for _, file := range files {
		o, problems, err := Load([]string{file}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		var fields []string
		for _, p := range problems {
			fields = append(fields, p.Field)
		}
		if diff := cmp.Diff(refused[filepath.Base(file)], fields); diff != "" {
			t.Errorf("%s: refused (-want +got):\n%s", file, diff)
		}
		if loaded, want := len(o.Policies), 1-min(1, len(fields)); loaded != want {
			t.Errorf("%s: %d policies loaded, want %d", file, loaded, want)
		}
	}
	if len(files) < 13 {
		t.Errorf("only %d examples found", len(files))
	}
}
