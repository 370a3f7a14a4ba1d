package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

var (
	// ErrLocked means that another program held the xtables lock for longer than we wait.
	ErrLocked = errors.New("another program holds the xtables lock")

	// ErrNoPrograms means that a program is not installed, or that we may not run it.
	ErrNoPrograms = errors.New("program missing")

	// ErrNoFamily means that this kernel was started without IPv6 (ipv6.disable=1), or built without it. There are no IPv6
	// packets then, and the legacy program cannot even open a socket to ask for the rules.
	ErrNoFamily = errors.New("this kernel has no IPv6")

	// ErrPermission means that this process may not change the filter table or ipsets. Both variants ask the kernel for a
	// set's number through a raw socket.
	ErrPermission = errors.New("needs CAP_NET_ADMIN and CAP_NET_RAW (run as root, or add them to the container's securityContext.capabilities.add)")
)

// lookPath finds a program, by name in $PATH or by path. The error names the program and the Debian package that has it.
func lookPath(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	base, what := filepath.Base(name), name+" is not in $PATH"
	if found := notExecutable(name); found != "" {
		what = found + " may not be executed"
	}
	pkg := "iptables"
	if base == "ipset" {
		pkg = "ipset"
	}
	return "", fmt.Errorf("%w: %s (Debian package %s)", ErrNoPrograms, what, pkg)
}

// notExecutable returns the file that would be the program if it were executable, or "".
func notExecutable(name string) string {
	dirs := filepath.SplitList(os.Getenv("PATH"))
	if strings.Contains(name, "/") {
		dirs = []string{""}
	}
	for _, dir := range dirs {
		path := filepath.Join(dir, name)
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrPermission) || err == nil && info.Mode().IsRegular() {
			return path
		}
	}
	return ""
}
