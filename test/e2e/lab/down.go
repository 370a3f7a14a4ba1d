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

// Down stops the cluster of a state directory and removes everything it made. Then it looks for what is left and
// fails with a list of it. It also works on what a crash left. Only the logs stay, until the next start.
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

// down kills every machine, and with it its processes, mounts and interfaces, and what was started beside the
// machines. Then it removes cgroups and files, and checks.
func down(ctx context.Context, dirs Dirs) error {
	if machine.Marked(os.Getpid(), dirs.State) {
		return errors.New("this shell is in the cluster's network: leave it first")
	}
	where := trace(dirs)
	// The lab's processes can be recognized only while their machines live.
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
		// The kernel takes a moment to empty the cgroups of dead processes.
		select {
		case <-ctx.Done():
			err := fmt.Errorf("left behind:\n  %s", strings.Join(left, "\n  "))
			return errors.Join(err, cgroupErr, fileErr)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// trace returns how the lab's leftovers are recognized.
func trace(dirs Dirs) residue.Trace {
	return residue.Trace{StateDir: dirs.State, Cgroup: dirs.cgroupRoot()}
}

// leftovers lists everything that exists of a cluster, running or not.
func leftovers(dirs Dirs) ([]string, error) {
	left, err := trace(dirs).Find()
	return append(left, files(dirs.State)...), err
}

// kept reports whether a name in the state directory outlives a cluster.
func kept(name string) bool { return name == "logs" || name == lockName }

// files lists the files of a cluster in the state directory.
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

// removeFiles empties the state directory, except for what is kept. The notes go last, so that an interrupted
// removal can be repeated.
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
