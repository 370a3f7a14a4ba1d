package residue

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/netpol-agent/netpol-agent/test/e2e/lab/host"
)

// cgroups lists the lab's cgroups in every hierarchy, children before their parents.
func (t Trace) cgroups() ([]string, error) {
	roots, err := host.CgroupRoots()
	if err != nil {
		return nil, err
	}
	var all []string
	for _, root := range roots {
		tree, err := subtree(filepath.Join(root, t.Cgroup))
		if err != nil {
			return nil, fmt.Errorf("cgroups: %w", err)
		}
		all = append(all, tree...)
	}
	return all, nil
}

// subtree lists a directory and everything below it, children first. The list is empty if there is no such
// directory.
func subtree(dir string) ([]string, error) {
	var all []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && d.IsDir() {
			all = append(all, path)
		}
		return err
	})
	slices.Reverse(all)
	return all, err
}

// RemoveCgroups removes the lab's cgroups. A cgroup that still holds processes stays, and is an error.
func (t Trace) RemoveCgroups() error {
	all, err := t.cgroups()
	if err != nil {
		return err
	}
	var errs []error
	for _, dir := range all {
		if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
