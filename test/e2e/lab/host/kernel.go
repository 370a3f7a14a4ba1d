package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// modules are loaded if the kernel has them as modules. Other modules load themselves when they are used.
var modules = []string{"overlay", "br_netfilter", "vxlan", "nf_conntrack", "nf_tables", "veth"}

// ErrNotRoot means that the lab was not started by root.
var ErrNotRoot = errors.New("root is needed: the lab makes namespaces, mounts and cgroups (run it with sudo)")

// CheckKernel loads the kernel modules that the lab needs. It returns an error that says what is missing, IPv6
// included if ipv6 is set. Loaded modules stay, because others may have begun to use them.
func CheckKernel(ctx context.Context, ipv6 bool) error {
	for _, m := range modules {
		// A kernel with the feature built in has no such module. The checks below decide.
		_ = exec.CommandContext(ctx, FindTool("modprobe"), "-q", m).Run()
	}
	if _, err := os.Stat("/proc/sys/net/bridge/bridge-nf-call-iptables"); err != nil {
		return errors.New("the kernel lacks br_netfilter: load it with `modprobe br_netfilter`")
	}
	if _, err := os.Stat("/proc/sys/net/ipv6"); ipv6 && err != nil {
		return errors.New("the kernel has no IPv6, or it was started with ipv6.disable=1")
	}
	filesystems, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		return err
	}
	for _, fs := range []string{"overlay", "tmpfs"} {
		if !strings.Contains(string(filesystems), "\t"+fs+"\n") {
			return fmt.Errorf("the kernel lacks the %s file system", fs)
		}
	}
	roots, err := CgroupRoots()
	if err != nil {
		return err
	}
	if len(roots) == 0 {
		return errors.New("no cgroup hierarchy is mounted below /sys/fs/cgroup")
	}
	return nil
}

// CgroupRoots lists where the cgroup hierarchies are mounted: one place for version 2, one for each controller
// for version 1.
func CgroupRoots() ([]string, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	return cgroupRoots(string(mounts)), nil
}

func cgroupRoots(mountinfo string) []string {
	var roots []string
	for line := range strings.Lines(mountinfo) {
		// ID parent major:minor root mount-point options [tags...] - type source super-options
		head, tail, ok := strings.Cut(line, " - ")
		fields := strings.Fields(head)
		if !ok || len(fields) < 5 {
			continue
		}
		fsType, _, _ := strings.Cut(tail, " ")
		if fsType == "cgroup" || fsType == "cgroup2" {
			roots = append(roots, fields[4])
		}
	}
	return roots
}
