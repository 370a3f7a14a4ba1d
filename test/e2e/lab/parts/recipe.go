package parts

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// recipeVersion must be raised when a change to this package changes what a build produces, but not the build's
// inputs.
const recipeVersion = 1

// Recipe is everything that decides the content of a part's executables.
type Recipe struct {
	Part Part
	// Release is the version of the part's module, as pinned.
	Release string
	// GoVersion is the Go release that builds, and GoArch the architecture it builds for.
	GoVersion, GoArch string
	// Files holds the content of the part's files that the build reads, by path in the part's folder.
	Files map[string]string
}

// ReadRecipe reads what is pinned in the part's folder.
func ReadRecipe(part Part, dir, goVersion, goArch string) (Recipe, error) {
	r := Recipe{Part: part, GoVersion: goVersion, GoArch: goArch, Files: map[string]string{}}
	names := append([]string{"go.mod", "go.sum"}, part.Sources...)
	for _, file := range part.Replace {
		if file != "" {
			names = append(names, file)
		}
	}
	for _, name := range names {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return Recipe{}, fmt.Errorf("part %s: %w", part.Name, err)
		}
		r.Files[name] = string(data)
	}
	release, err := pinned(r.Files["go.mod"], part.Module)
	if err != nil {
		return Recipe{}, fmt.Errorf("part %s: %w", part.Name, err)
	}
	r.Release = release
	return r, nil
}

// Release returns the version that a part is pinned to. source is the folder that holds the parts' folders.
func Release(part Part, source string) (string, error) {
	data, err := os.ReadFile(filepath.Join(source, part.Name, "go.mod"))
	if err != nil {
		return "", fmt.Errorf("part %s: %w", part.Name, err)
	}
	return pinned(string(data), part.Module)
}

// pinned finds the version of a module in the text of a go.mod file.
func pinned(goMod, module string) (string, error) {
	line := regexp.MustCompile(`(?m)^(?:require)?\s+` + regexp.QuoteMeta(module) + `\s+(v\S+)`)
	m := line.FindStringSubmatch(goMod)
	if m == nil {
		return "", fmt.Errorf("go.mod does not require %s", module)
	}
	return m[1], nil
}

// Stamp returns a name for the recipe's result. Equal recipes have equal stamps, different recipes have different
// ones.
func (r Recipe) Stamp() (string, error) {
	text, err := json.Marshal(struct {
		Version int
		Recipe  Recipe
	}{recipeVersion, r})
	if err != nil {
		return "", fmt.Errorf("stamp of part %s: %w", r.Part.Name, err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8]), nil
}

// args returns the arguments of `go build`, except the packages.
func (r Recipe) args(out, modfile string) []string {
	return append([]string{"build", "-v", "-o", out}, r.flags(modfile)...)
}

// flags returns the arguments that `go build` and `go test -c` have in common.
func (r Recipe) flags(modfile string) []string {
	ldflags := []string{"-s", "-w"}
	for _, v := range r.Part.VersionVars {
		ldflags = append(ldflags, "-X", v+"="+r.Release)
	}
	args := []string{"-trimpath", "-buildvcs=false", "-ldflags", strings.Join(ldflags, " ")}
	return append(args, r.listFlags(modfile)...)
}

// listFlags returns the flags with which `go list` sees what a build sees.
func (r Recipe) listFlags(modfile string) []string {
	args := []string{"-mod=readonly"}
	if len(r.Part.Tags) > 0 {
		args = append(args, "-tags", strings.Join(r.Part.Tags, ","))
	}
	if modfile != "" {
		args = append(args, "-modfile", modfile)
	}
	return args
}

// names lists the programs' names.
func (p Part) names() []string {
	var all []string
	for _, prog := range slices.Concat(p.Programs, p.Tests) {
		all = append(all, prog.Name)
	}
	return all
}

// packages lists the import paths to build, in order.
func (r Recipe) packages() []string {
	var all []string
	for _, p := range r.Part.Programs {
		all = append(all, p.Package)
	}
	slices.Sort(all)
	return all
}
