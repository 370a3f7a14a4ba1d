package machine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/netpol-agent/netpol-agent/test/e2e/lab/host"
)

// ownCgroup is the cgroup, below a machine's, of its first process and what that starts. In version 2, a cgroup
// whose children have limits cannot hold processes itself, and the machine's own gets such children.
const ownCgroup = "init"

// controllers are the version 2 controllers that a kubelet and its pods need. They are enabled for all cgroups at
// the root, if they are not already, as a host's own init system does.
var controllers = []string{"cpuset", "cpu", "io", "memory", "pids"}

// makeCgroups creates a cgroup in every hierarchy, with its parents.
func makeCgroups(path string) error {
	roots, err := host.CgroupRoots()
	if err != nil {
		return err
	}
	for _, root := range roots {
		dir := root
		for name := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
			delegate(dir)
			dir = filepath.Join(dir, name)
			if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("cgroup: %w", err)
			}
			if err := inheritCPUs(dir); err != nil {
				return fmt.Errorf("cgroup %s: %w", dir, err)
			}
		}
	}
	return nil
}

// delegate enables the controllers for the children of a version 2 cgroup. It skips those that the kernel lacks.
func delegate(dir string) {
	for _, c := range controllers {
		_ = os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+c), 0)
	}
}

// inheritCPUs gives a version 1 cpuset its parent's processors and memory nodes. A new cpuset has none and accepts
// no process.
func inheritCPUs(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, "cgroup.controllers")); err == nil {
		return nil
	}
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		own, err := os.ReadFile(filepath.Join(dir, file))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if strings.TrimSpace(string(own)) != "" {
			continue
		}
		parent, err := os.ReadFile(filepath.Join(filepath.Dir(dir), file))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, file), parent, 0); err != nil {
			return err
		}
	}
	return nil
}

// joinCgroups moves a process into a cgroup of every hierarchy.
func joinCgroups(path string, pid int) error {
	roots, err := host.CgroupRoots()
	if err != nil {
		return err
	}
	for _, root := range roots {
		file := filepath.Join(root, path, "cgroup.procs")
		if err := os.WriteFile(file, []byte(strconv.Itoa(pid)), 0); err != nil {
			return fmt.Errorf("cgroup: %w", err)
		}
	}
	return nil
}
