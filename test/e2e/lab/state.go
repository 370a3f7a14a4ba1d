package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/netpol-agent/netpol-agent/test/e2e/lab/machine"
)

// ErrNotUp means that there is no cluster in a state directory.
var ErrNotUp = errors.New("no cluster is up")

// state is what a lab records about itself, so that another process can use and stop it.
type state struct {
	Options Options `json:"options"`
	// Up is false while the cluster starts.
	Up           bool            `json:"up"`
	ControlPlane machine.Machine `json:"controlPlane"`
	Nodes        []Node          `json:"nodes"`
	// Path is the PATH of the lab's processes.
	Path string `json:"path"`
	// Kubectl is the path of the kubectl of the cluster's release.
	Kubectl string `json:"kubectl"`
}

// Node is a node of a cluster.
type Node struct {
	// Name is the node's name in the cluster, and the machine's.
	Name string `json:"name"`
	// Addresses are its addresses on the lab's network, one of each IP family that the cluster has.
	Addresses []netip.Addr    `json:"addresses"`
	Machine   machine.Machine `json:"machine"`
}

func (s state) machines() []machine.Machine {
	all := []machine.Machine{s.ControlPlane}
	for _, n := range s.Nodes {
		all = append(all, n.Machine)
	}
	return all
}

func stateFile(dir string) string { return filepath.Join(dir, "state.json") }

// readState returns ErrNotUp if there are no notes.
func readState(dir string) (state, error) {
	var s state
	data, err := os.ReadFile(stateFile(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return s, fmt.Errorf("%w in %s", ErrNotUp, dir)
	}
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(data, &s); err != nil {
		return s, fmt.Errorf("%s: %w", stateFile(dir), err)
	}
	return s, nil
}

// write replaces the notes as a whole: a crash leaves the old or the new ones.
func (s state) write(dir string) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	tmp := stateFile(dir) + ".new"
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, stateFile(dir))
}

// lockName is the lock file in the state directory. Only one start or stop at a time holds it.
const lockName = "lock"

// lockState creates the state directory and takes its lock, without waiting for it.
func lockState(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("another command is starting or stopping the cluster in %s", dir)
	}
	return func() { _ = f.Close() }, nil
}
