package residue

import (
	"fmt"
	"os"
	"strings"
)

// Find lists what is left, one line each. The list is empty if nothing is left.
func (t Trace) Find() ([]string, error) {
	processes, err := t.Processes()
	if err != nil {
		return nil, err
	}
	var left []string
	for _, p := range processes {
		left = append(left, fmt.Sprintf("process %d (%s)", p.Ref.PID, p.Name))
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	for _, point := range t.mounts(string(mounts)) {
		left = append(left, "mount "+point)
	}
	groups, err := t.cgroups()
	if err != nil {
		return nil, err
	}
	for _, g := range groups {
		left = append(left, "cgroup "+g)
	}
	return left, nil
}

// mounts lists the mount points below the lab's folder; the folder itself may be a mount that was there before.
func (t Trace) mounts(mountinfo string) []string {
	var left []string
	for line := range strings.Lines(mountinfo) {
		// ID parent major:minor root mount-point options ...
		const pointAt = 4
		fields := strings.Fields(line)
		if len(fields) <= pointAt {
			continue
		}
		if point := unescape(fields[pointAt]); below(point, t.StateDir) {
			left = append(left, point)
		}
	}
	return left
}

// unescape undoes the kernel's octal escapes of blanks and backslashes.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

func below(path, dir string) bool {
	return strings.HasPrefix(path, dir+"/")
}
