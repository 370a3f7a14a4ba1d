package supervisor_test

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/netpol-agent/netpol-agent/test/e2e/lab/supervisor"
)

// serveEnv makes the test binary a supervisor on the socket it names, because the reaper must not share a process
// with the tests' own children.
const serveEnv = "SUPERVISOR_TEST_SOCKET"

func TestMain(m *testing.M) {
	socket := os.Getenv(serveEnv)
	if socket == "" {
		os.Exit(m.Run())
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		os.Exit(1)
	}
	_ = supervisor.NewServer().Serve(context.Background(), l)
}

func startSupervisor(t *testing.T) (supervisor.Client, string) {
	t.Helper()
	dir := t.TempDir()
	c := supervisor.Client{Socket: filepath.Join(dir, "s")}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), serveEnv+"="+c.Socket)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for range 200 {
		if _, err := c.List(t.Context()); err == nil {
			return c, dir
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("the supervisor does not answer")
	return c, dir
}

func spec(dir, name, script string) supervisor.Spec {
	return supervisor.Spec{
		Name: name,
		Argv: []string{"/bin/sh", "-c", script},
		Env:  []string{"PATH=/usr/bin:/bin"},
		Log:  filepath.Join(dir, name+".log"),
	}
}

func TestRunKeepsExitStatusAndLog(t *testing.T) {
	c, dir := startSupervisor(t)
	st, err := c.Run(t.Context(), spec(dir, "seven", "echo out; echo err >&2; exit 7"))
	if err != nil {
		t.Fatal(err)
	}
	if st.Running || st.ExitCode != 7 || st.Ended.IsZero() {
		t.Errorf("status = %+v, want ended with 7", st)
	}
	log, err := os.ReadFile(filepath.Join(dir, "seven.log"))
	if err != nil || string(log) != "out\nerr\n" {
		t.Errorf("log = %q, %v", log, err)
	}
}

func TestStartRefusesWhatRunsAndWhatIsNotThere(t *testing.T) {
	c, dir := startSupervisor(t)
	if _, err := c.Start(t.Context(), spec(dir, "a", "sleep 60")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Start(t.Context(), spec(dir, "a", "sleep 60")); err == nil || !strings.Contains(err.Error(), "running already") {
		t.Errorf("second start: %v", err)
	}
	missing := spec(dir, "b", "")
	missing.Argv = []string{"/no/such/program"}
	if _, err := c.Start(t.Context(), missing); err == nil || !strings.Contains(err.Error(), "/no/such/program") {
		t.Errorf("start of a missing program: %v", err)
	}
	all, err := c.List(t.Context())
	if err != nil || len(all) != 1 || !all[0].Running {
		t.Errorf("list = %+v, %v", all, err)
	}
}

func TestStopIsPoliteThenNot(t *testing.T) {
	c, dir := startSupervisor(t)
	for name, want := range map[string]struct {
		script string
		code   int
	}{
		"polite":   {"trap 'exit 3' TERM; while :; do sleep 0.01; done", 3},
		"stubborn": {"trap '' TERM; while :; do sleep 0.01; done", 128 + int(syscall.SIGKILL)},
	} {
		if _, err := c.Start(t.Context(), spec(dir, name, want.script)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
		st, err := c.Stop(t.Context(), name, 300*time.Millisecond)
		if err != nil || st.Running || st.ExitCode != want.code {
			t.Errorf("%s: %+v, %v, want exit code %d", name, st, err, want.code)
		}
		// Stopping what has ended is no error.
		if _, err := c.Stop(t.Context(), name, time.Second); err != nil {
			t.Errorf("%s again: %v", name, err)
		}
	}
}

func TestUnknownNamesAreErrors(t *testing.T) {
	c, _ := startSupervisor(t)
	if _, err := c.Wait(t.Context(), "nobody"); err == nil {
		t.Error("wait for a process that was never started: no error")
	}
	if err := c.Signal(t.Context(), "nobody", syscall.SIGTERM); err == nil {
		t.Error("signal to a process that was never started: no error")
	}
}

func TestWaitEndsWithTheContext(t *testing.T) {
	c, dir := startSupervisor(t)
	if _, err := c.Start(t.Context(), spec(dir, "a", "sleep 60")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Wait(ctx, "a"); err == nil {
		t.Error("wait outlived its context")
	}
}
