package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/netpol-agent/netpol-agent/test/e2e/lab/host"
	"github.com/netpol-agent/netpol-agent/test/e2e/lab/parts"
	"github.com/netpol-agent/netpol-agent/test/e2e/lab/progress"
)

// programs are the executables of a lab.
type programs struct {
	// bin maps a program's name to its path.
	bin map[string]string
	// cni are the folders of the CNI plugins.
	cni []string
	// path is the PATH of the lab's processes.
	path string
}

// ownPrograms are the lab's own, by import path relative to the repository.
var ownPrograms = []string{"./test/e2e/cmd/machine-init", "./test/e2e/cmd/pause", "./test/e2e/cmd/probe"}

// Build installs the Debian packages and builds the programs that are missing. It starts nothing.
func Build(ctx context.Context, dirs Dirs, p *progress.Printer) error {
	dirs, err := dirs.clean()
	if err != nil {
		return err
	}
	_, err = build(ctx, dirs, p)
	return err
}

func build(ctx context.Context, dirs Dirs, p *progress.Printer) (programs, error) {
	if dirs.Repo == "" {
		return programs{}, errors.New("this is not a checkout of the repository: change into one, or name one with --repo")
	}
	if err := host.EnsureTools(ctx, p); err != nil {
		return programs{}, err
	}
	builder := parts.Builder{
		Source:   filepath.Join(dirs.Repo, "test", "e2e", "parts"),
		Cache:    dirs.Cache,
		Progress: p,
	}
	catalog := parts.Catalog()
	built, err := builder.Ensure(ctx, catalog)
	if err != nil {
		return programs{}, err
	}
	own := filepath.Join(dirs.Cache, "own")
	if err := parts.BuildOwn(ctx, dirs.Repo, own, ownPrograms...); err != nil {
		return programs{}, err
	}
	busybox, err := host.Busybox(ctx, p, filepath.Join(dirs.Cache, "busybox"))
	if err != nil {
		return programs{}, err
	}
	all := collect(catalog, built)
	for _, pkg := range ownPrograms {
		all.bin[filepath.Base(pkg)] = filepath.Join(own, filepath.Base(pkg))
	}
	all.bin["busybox"] = busybox
	all.bin["runc"] = host.FindTool("runc")
	for name, file := range all.bin {
		if _, err := os.Stat(file); err != nil {
			return programs{}, fmt.Errorf("program %s: %w", name, err)
		}
	}
	return all, nil
}

// collect returns the paths of the parts' programs.
func collect(catalog []parts.Part, built map[string]string) programs {
	all := programs{bin: map[string]string{}}
	var search []string
	for _, part := range catalog {
		dir := built[part.Name]
		if part.Name == parts.CNIPlugins || part.Name == parts.FlannelCNI {
			// Plugins are found by containerd, and are named like commands of other packages.
			all.cni = append(all.cni, dir)
			continue
		}
		search = append(search, dir)
		for _, prog := range part.Programs {
			all.bin[prog.Name] = filepath.Join(dir, prog.Name)
		}
	}
	slices.Sort(search)
	all.path = strings.Join(append(search, host.Path), ":")
	return all
}
