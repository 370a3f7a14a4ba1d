package residue

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/netpol-agent/netpol-agent/test/e2e/lab/machine"
)

// Process is a process of a lab.
type Process struct {
	Ref machine.Ref
	// Name is the program's short name.
	Name string
}

// Processes lists the lab's processes: those that carry its marker, and those in a namespace of one of its live
// machines.
func (t Trace) Processes() ([]Process, error) {
	machines, err := machine.Find(t.StateDir)
	if err != nil {
		return nil, err
	}
	held := map[namespace]bool{}
	for _, m := range machines {
		for _, ns := range namespacesOf(m.Init.PID) {
			held[ns] = true
		}
	}
	pids, err := machine.Processes()
	if err != nil {
		return nil, err
	}
	var all []Process
	for _, pid := range pids {
		ref, err := machine.RefOf(pid)
		if err != nil || !ref.Alive() || !t.owns(pid, held) {
			continue
		}
		comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		all = append(all, Process{Ref: ref, Name: strings.TrimSpace(string(comm))})
	}
	return all, nil
}

func (t Trace) owns(pid int, held map[namespace]bool) bool {
	if machine.Marked(pid, t.StateDir) {
		return true
	}
	if len(held) == 0 {
		return false
	}
	for _, ns := range namespacesOf(pid) {
		if held[ns] {
			return true
		}
	}
	return false
}

// namespace identifies a namespace while it is held.
type namespace struct {
	kind  string
	inode uint64
}

// namespacesOf lists the namespaces of a process. The list is empty if the process is gone.
func namespacesOf(pid int) []namespace {
	var all []namespace
	for _, kind := range []string{"pid", "mnt", "net"} {
		var st unix.Stat_t
		if err := unix.Stat(fmt.Sprintf("/proc/%d/ns/%s", pid, kind), &st); err == nil {
			all = append(all, namespace{kind, st.Ino})
		}
	}
	return all
}
