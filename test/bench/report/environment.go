package report

import (
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Environment is the machine on which figures were measured.
type Environment struct {
	Kernel    string `json:"kernel"`
	Processor string `json:"processor"`
	CPUs      int    `json:"cpus"`
	Go        string `json:"go"`
	Load      string `json:"load"`
}

// ReadEnvironment describes this machine.
func ReadEnvironment() Environment {
	e := Environment{Kernel: "unknown", Processor: runtime.GOARCH, CPUs: runtime.NumCPU(), Go: runtime.Version(), Load: Load()}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		e.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
				e.Processor = strings.TrimSpace(value)
				break
			}
		}
	}
	return e
}

// String returns one line.
func (e Environment) String() string {
	return fmt.Sprintf("kernel %s, %d cpus (%s), %s, load %s", e.Kernel, e.CPUs, e.Processor, e.Go, e.Load)
}

// Load returns how busy the machine was in the last 1, 5 and 15 minutes.
func Load() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	fields := strings.Fields(string(b))
	return strings.Join(fields[:min(3, len(fields))], " ")
}
