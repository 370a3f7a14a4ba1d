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
	// ErrLocked says that another program held the xtables lock for as long as we wait.
	ErrLocked = errors.New("another program holds the xtables lock")

	// ErrNoPrograms says that a program is not installed, or not for us to run.
	ErrNoPrograms = errors.New("program missing")

	// ErrNoFamily says that this kernel was started without IPv6 (ipv6.disable=1), or built without it: no packet of
	// the family exists, and the legacy program cannot even open a socket to ask for its rules.
	ErrNoFamily = errors.New("this kernel has no IPv6")

	// ErrPermission says that this process may not change the filter table or ipsets. Both variants ask the kernel
	// for a set's number through a raw socket.
	ErrPermission = errors.New("needs CAP_NET_ADMIN and CAP_NET_RAW (run as root, or add them to the container's securityContext.capabilities.add)")
)

// lookPath finds a program, by name in $PATH or by path. The error names it and the Debian package that has it.
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

// notExecutable gives the file that would be the program, if it were executable.
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
