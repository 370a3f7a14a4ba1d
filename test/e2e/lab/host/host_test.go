package host

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestMissingPackagesNamesEachOnce(t *testing.T) {
	if got := missingPackages(func(string) bool { return true }); len(got) != 0 {
		t.Errorf("nothing is missing, but %v is", got)
	}
	got := missingPackages(func(tool string) bool { return tool != "nft" && tool != "runc" })
	if want := []string{"nftables", "runc"}; !slices.Equal(got, want) {
		t.Errorf("missing %v, want %v", got, want)
	}
}

func TestCgroupRoots(t *testing.T) {
	const v1 = `20 1 0:5 / /proc rw,relatime - proc proc rw
30 20 0:25 / /sys/fs/cgroup/cpu rw,relatime shared:4 - cgroup cgroup rw,cpu
31 20 0:26 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
`
	if got, want := cgroupRoots(v1), []string{"/sys/fs/cgroup/cpu", "/sys/fs/cgroup/unified"}; !slices.Equal(got, want) {
		t.Errorf("roots %v, want %v", got, want)
	}
	const v2 = "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 master:3 - cgroup2 cgroup2 rw,nsdelegate\n"
	if got, want := cgroupRoots(v2), []string{"/sys/fs/cgroup"}; !slices.Equal(got, want) {
		t.Errorf("roots %v, want %v", got, want)
	}
	if got := cgroupRoots("nonsense\n"); got != nil {
		t.Errorf("roots %v of nonsense", got)
	}
}

func TestIsStatic(t *testing.T) {
	script := filepath.Join(t.TempDir(), "busybox")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if isStatic(script) {
		t.Error("a script passes for a static executable")
	}
	if isStatic("/bin/sh") {
		t.Error("/bin/sh, which is linked to the C library, passes for a static executable")
	}
}
