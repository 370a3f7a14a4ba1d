package residue

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/netpol-agent/netpol-agent/test/e2e/lab/machine"
)

var lab = Trace{StateDir: "/var/lib/lab"}

func TestMounts(t *testing.T) {
	const mountinfo = `22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 22 0:30 / /var/lib/lab/node1/kubelet/x\040y rw,relatime - tmpfs tmpfs rw
41 22 0:30 / /var/lib/lab2 rw,relatime - tmpfs tmpfs rw
42 22 0:31 / /var/lib/lab rw shared:5 - overlay overlay rw
`
	want := []string{"/var/lib/lab/node1/kubelet/x y"}
	if got := lab.mounts(mountinfo); !slices.Equal(got, want) {
		t.Errorf("mounts %q, want %q", got, want)
	}
	if got := lab.mounts("\na b c\n"); len(got) != 0 {
		t.Errorf("mounts %q of nonsense", got)
	}
}

func TestProcessesFindsTheMarked(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command("sleep", "60")
	cmd.Env = []string{machine.Marker(dir)}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	got, err := Trace{StateDir: dir}.Processes()
	if err != nil || len(got) != 1 || got[0].Ref.PID != cmd.Process.Pid || got[0].Name != "sleep" {
		t.Errorf("processes %+v, %v, want sleep, %d", got, err, cmd.Process.Pid)
	}
	// A state directory with a common prefix belongs to another lab.
	got, err = Trace{StateDir: dir[:len(dir)-1]}.Processes()
	if err != nil || len(got) != 0 {
		t.Errorf("processes of another lab: %+v, %v", got, err)
	}
}

func TestSubtreeListsChildrenFirst(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"a/b", "a/c"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	got, err := subtree(filepath.Join(dir, "a"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{filepath.Join(dir, "a/c"), filepath.Join(dir, "a/b"), filepath.Join(dir, "a")}
	if !slices.Equal(got, want) {
		t.Errorf("subtree %q, want %q", got, want)
	}
	if got, err := subtree(filepath.Join(dir, "none")); err != nil || len(got) != 0 {
		t.Errorf("a missing directory: %q, %v", got, err)
	}
}
