package parts

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// patch makes a copy of the part's module with the part's replacements below tmp, and returns a go.mod file that
// builds from it. For a part that replaces nothing, the result is the empty string, and the part is built as it is.
// The copy is of the module that go.sum verifies.
func patch(ctx context.Context, r Recipe, source, tmp string) (modfile string, err error) {
	if len(r.Part.Replace) == 0 {
		return "", nil
	}
	module, err := moduleDir(ctx, r.Part.Module, source)
	if err != nil {
		return "", err
	}
	src := filepath.Join(tmp, "src")
	if err := os.CopyFS(src, os.DirFS(module)); err != nil {
		return "", fmt.Errorf("copy %s: %w", r.Part.Module, err)
	}
	for from, to := range r.Part.Replace {
		file := filepath.Join(src, from)
		if err := os.Remove(file); err != nil {
			return "", fmt.Errorf("replace a file of %s: %w", r.Part.Module, err)
		}
		if to == "" {
			continue
		}
		if err := os.WriteFile(file, []byte(r.Files[to]), 0o644); err != nil {
			return "", err
		}
	}
	modfile = filepath.Join(tmp, "go.mod")
	mod := r.Files["go.mod"] + "\nreplace " + r.Part.Module + " => " + src + "\n"
	if err := os.WriteFile(modfile, []byte(mod), 0o644); err != nil {
		return "", err
	}
	return modfile, os.WriteFile(filepath.Join(tmp, "go.sum"), []byte(r.Files["go.sum"]), 0o644)
}

// moduleDir downloads a module that is required in the source folder and returns where it is.
func moduleDir(ctx context.Context, module, source string) (string, error) {
	fetch := exec.CommandContext(ctx, "go", "mod", "download", module)
	fetch.Dir = source
	if out, err := fetch.CombinedOutput(); err != nil {
		return "", fmt.Errorf("download %s: %w: %s", module, err, bytes.TrimSpace(out))
	}
	list := exec.CommandContext(ctx, "go", "list", "-mod=readonly", "-m", "-f", "{{.Dir}}", module)
	list.Dir = source
	dir, err := list.Output()
	if err != nil {
		return "", fmt.Errorf("find %s: %w", module, err)
	}
	return strings.TrimSpace(string(dir)), nil
}
