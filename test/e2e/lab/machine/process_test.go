package machine

import (
	"os"
	"os/exec"
	"testing"
)

func TestParseStat(t *testing.T) {
	const stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1 2"
	state, start, err := parseStat(stat)
	if err != nil || state != 'S' || start != 987654 {
		t.Errorf("state %c, start %d, %v", state, start, err)
	}
	for _, bad := range []string{"", "42 (a", "42 (a) S 1 2"} {
		if _, _, err := parseStat(bad); err == nil {
			t.Errorf("%q is taken for a stat", bad)
		}
	}
}

func TestRefIsOneProcess(t *testing.T) {
	self, err := RefOf(os.Getpid())
	if err != nil || !self.Alive() {
		t.Fatalf("this process is %+v, %v, and not alive", self, err)
	}
	for name, other := range map[string]Ref{
		"start time": {PID: self.PID, StartTime: self.StartTime + 1, BootID: self.BootID},
		"boot":       {PID: self.PID, StartTime: self.StartTime, BootID: "another"},
	} {
		if other.Alive() {
			t.Errorf("a process of another %s is alive", name)
		}
		// If the signal reached this process, the test would end here.
		if err := other.Kill(t.Context()); err != nil {
			t.Errorf("kill a process of another %s: %v", name, err)
		}
	}
}

func TestKillEndsAndAZombieIsNotAlive(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ref, err := RefOf(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	// Nobody has waited for it yet, so it ends as a zombie.
	if err := ref.Kill(t.Context()); err != nil {
		t.Error(err)
	}
	if ref.Alive() {
		t.Error("a zombie is alive")
	}
	_ = cmd.Wait()
}
