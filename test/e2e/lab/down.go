package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/netpol-agent/netpol-agent/test/e2e/lab/host"
	"github.com/netpol-agent/netpol-agent/test/e2e/lab/machine"
	"github.com/netpol-agent/netpol-agent/test/e2e/lab/progress"
	"github.com/netpol-agent/netpol-agent/test/e2e/lab/residue"
)

// downTimeout bounds the removal of a cluster.
const downTimeout = time.Minute

// Down ends the cluster of a state directory and removes all it made, then looks for what is left and fails
// with a list of it. It works on what a crash left, too. Only the logs stay, until the next start.
func Down(ctx context.Context, dirs Dirs, p *progress.Printer) error {
	dirs, err := dirs.clean()
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return host.ErrNotRoot
	}
	if _, err := os.Stat(dirs.State); errors.Is(err, os.ErrNotExist) {
		p.Step("no cluster is up, nothing is left of one")
		return nil
	}
	unlock, err := lockState(dirs.State)
	if err != nil {
		return err
	}
	defer unlock()
	left, err := leftovers(dirs)
	if err != nil {
		return err
	}
	if len(left) == 0 {
		p.Step("no cluster is up, nothing is left of one")
		return nil
	}
	p.Step("ending the cluster in %s", dirs.State)
	ctx, cancel := context.WithTimeout(ctx, downTimeout)
	defer cancel()
	if err := down(ctx, dirs); err != nil {
		return err
	}
	p.Step("the cluster is gone: no process, namespace, mount or cgroup is left (logs: %s)", dirs.logs())
	return nil
}

// down ends every machine, which takes its processes, mounts and interfaces with it, and what was started
// beside them, then removes cgroups and files, and checks.
func down(ctx context.Context, dirs Dirs) error {
	if machine.Marked(os.Getpid(), dirs.State) {
		return errors.New("this shell is in the cluster's network: leave it first")
	}
	where := trace(dirs)
	// What is a process of the lab can be told only while its machine lives.
	processes, err := where.Processes()
	if err != nil {
		return err
	}
	machines, err := machine.Find(dirs.State)
	if err != nil {
		return err
	}
	var errs []error
	for _, m := range machines {
		errs = append(errs, m.Kill(ctx))
	}
	for _, p := range processes {
		errs = append(errs, p.Ref.Kill(ctx))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for {
		cgroupErr := where.RemoveCgroups()
		fileErr := removeFiles(dirs.State)
		left, err := leftovers(dirs)
		if err != nil {
			return err
		}
		if len(left) == 0 {
			return nil
		}
		// The kernel takes a moment to empty what died.
		select {
		case <-ctx.Done():
			err := fmt.Errorf("left behind:\n  %s", strings.Join(left, "\n  "))
			return errors.Join(err, cgroupErr, fileErr)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// trace says by what the lab's remains are known.
func trace(dirs Dirs) residue.Trace {
	return residue.Trace{StateDir: dirs.State, Cgroup: dirs.cgroupRoot()}
}

// leftovers lists all that there is of a cluster, running or not.
func leftovers(dirs Dirs) ([]string, error) {
	left, err := trace(dirs).Find()
	return append(left, files(dirs.State)...), err
}

// kept are the names in the state directory that outlive a cluster.
func kept(name string) bool { return name == "logs" || name == lockName }

// files lists what the state directory holds of a cluster.
func files(stateDir string) []string {
	entries, err := os.ReadDir(stateDir)
	if err != nil {
		return nil
	}
	var all []string
	for _, e := range entries {
		if !kept(e.Name()) {
			all = append(all, "file "+filepath.Join(stateDir, e.Name()))
		}
	}
	return all
}

// removeFiles empties the state directory, but for what is kept. The notes go last: whoever is interrupted can
// come back to them.
func removeFiles(stateDir string) error {
	entries, err := os.ReadDir(stateDir)
	if err != nil {
		return err
	}
	var errs []error
	notes := filepath.Base(stateFile(stateDir))
	for _, e := range entries {
		if !kept(e.Name()) && e.Name() != notes {
			errs = append(errs, os.RemoveAll(filepath.Join(stateDir, e.Name())))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return os.RemoveAll(stateFile(stateDir))
}
