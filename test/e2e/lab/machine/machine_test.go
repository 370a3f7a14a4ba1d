package machine_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/netpol-agent/netpol-agent/test/e2e/lab/host"
	"github.com/netpol-agent/netpol-agent/test/e2e/lab/machine"
	"github.com/netpol-agent/netpol-agent/test/e2e/lab/residue"
)

// start starts two machines on one network, which are killed at the test's end.
func start(t *testing.T) (hub, leaf machine.Port, trace residue.Trace) {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("root is needed to make namespaces")
		}
		t.Skip("root is needed to make namespaces")
	}
	state := t.TempDir()
	trace = residue.Trace{StateDir: state, Cgroup: fmt.Sprintf("/netpol-lab-test-%d", os.Getpid())}
	t.Cleanup(func() { removeCgroups(t, trace) })
	program := filepath.Join(t.TempDir(), "machine-init")
	build := exec.Command("go", "build", "-o", program, "github.com/netpol-agent/netpol-agent/test/e2e/cmd/machine-init")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build machine-init: %v: %s", err, out)
	}
	var ports []machine.Port
	for i, name := range []string{"hub", "leaf"} {
		m, err := machine.Start(t.Context(), machine.Config{
			StateDir: state,
			Name:     name,
			LogDir:   filepath.Join(state, "logs", name),
			Init:     program,
			Cgroup:   trace.Cgroup + "/" + name,
			Path:     host.Path,
		}, func(m machine.Machine) error {
			t.Cleanup(func() { end(t, m) })
			return nil
		})
		if err != nil {
			log, _ := os.ReadFile(filepath.Join(state, "logs", name, "setup.log"))
			t.Fatalf("%v: %s", err, log)
		}
		ports = append(ports, machine.Port{Machine: m, Addresses: []netip.Prefix{
			netip.MustParsePrefix(fmt.Sprintf("192.0.2.%d/24", i+1)),
			netip.MustParsePrefix(fmt.Sprintf("2001:db8::%d/64", i+1)),
		}})
	}
	if err := machine.Wire(ports[0], ports[1:]); err != nil {
		t.Fatal(err)
	}
	return ports[0], ports[1], trace
}

func end(t *testing.T, m machine.Machine) {
	t.Helper()
	// The test's own context has ended by now.
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := m.Kill(ctx); err != nil {
		t.Error(err)
	}
}

// removeCgroups removes the machines' cgroups. The kernel takes a moment to empty those of dead processes.
func removeCgroups(t *testing.T, trace residue.Trace) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if err = trace.RemoveCgroups(); err == nil {
			return
		}
	}
	t.Error(err)
}

func output(t *testing.T, m machine.Machine, script string) string {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", script)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := m.Start(cmd, machine.Whole); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%s: %v: %s", script, err, out.String())
	}
	return strings.TrimSpace(out.String())
}

func TestKernelMachinesReachEachOther(t *testing.T) {
	hub, leaf, _ := start(t)
	for i := range hub.Addresses {
		// A process on a machine can bind to its addresses, or send from them, at once.
		reach(t, hub, leaf, i)
		reach(t, leaf, hub, i)
	}
}

// reach has a machine connect to another's address of that index.
func reach(t *testing.T, from, to machine.Port, index int) {
	t.Helper()
	target, source := to.Addresses[index].Addr(), from.Addresses[index].Addr()
	var l net.Listener
	err := to.Machine.Do(func() (err error) {
		l, err = net.Listen("tcp", netip.AddrPortFrom(target, 80).String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = io.WriteString(conn, conn.RemoteAddr().String())
		_ = conn.Close()
	}()
	var got []byte
	err = from.Machine.Do(func() error {
		conn, err := net.DialTimeout("tcp", l.Addr().String(), 5*time.Second)
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }()
		got, err = io.ReadAll(conn)
		return err
	})
	peer, parseErr := netip.ParseAddrPort(string(got))
	if err != nil || parseErr != nil || peer.Addr() != source {
		t.Errorf("%s saw %q, %v, want a connection from %s", to.Machine.Name, got, err, source)
	}
	// It cannot be reached from this machine's own namespace.
	if conn, err := net.DialTimeout("tcp", l.Addr().String(), 100*time.Millisecond); err == nil {
		_ = conn.Close()
		t.Errorf("%s can be reached from outside", target)
	}
}

func TestKernelMachineHasItsOwnView(t *testing.T) {
	_, leaf, trace := start(t)
	for script, want := range map[string]string{
		"hostname":                          "leaf",
		"ls /sys/class/net | tr '\\n' ' '":  "eth0 lo",
		"cat /proc/sys/net/ipv4/ip_forward": "1",
		"cd /proc/sys/net/ipv6/conf; cat eth0/forwarding eth0/accept_dad all/accept_dad | tr '\\n' ' '": "1 0 0",
		"echo x >/run/mine; cat /run/mine":   "x",
		"echo y >/var/lib/m; cat /var/lib/m": "y",
		// The cgroup of its first process, as the machine sees it.
		"cut -d: -f3 /proc/1/cgroup | sort -u": "/init",
		// The settings of the whole kernel that the kubelet may change are copies.
		"echo 7 >/proc/sys/kernel/panic; cat /proc/sys/kernel/panic": "7",
	} {
		if got := output(t, leaf.Machine, script); got != want {
			t.Errorf("%s: %q, want %q", script, got, want)
		}
	}
	for _, file := range []string{"/run/mine", "/var/lib/m"} {
		if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s of the machine is a file of the host: %v", file, err)
		}
	}
	if data, err := os.ReadFile("/proc/sys/kernel/panic"); err != nil || string(data) == "7\n" {
		t.Errorf("kernel.panic of the host is %q, %v", data, err)
	}
	if own, err := os.ReadFile("/proc/self/mountinfo"); err != nil || strings.Contains(string(own), trace.StateDir) {
		t.Errorf("a mount of the machine is one of the host's, %v", err)
	}
}

func TestKernelKillLeavesNothing(t *testing.T) {
	hub, leaf, trace := start(t)
	// A process that ignores all signals, one beside the machine, and a cgroup as a pod has.
	stubborn := exec.Command("/bin/sh", "-c", "trap '' TERM INT HUP; sleep 1000 & wait")
	if err := leaf.Machine.Start(stubborn, machine.Whole); err != nil {
		t.Fatal(err)
	}
	go func() { _ = stubborn.Wait() }()
	output(t, leaf.Machine, "for root in $(grep -E ' cgroup2? ' /proc/self/mounts | cut -d' ' -f2); do mkdir -p $root/pod/container; done")
	found, err := trace.Processes()
	if err != nil || len(found) < 4 {
		t.Errorf("%d processes of the machines are found, %v, want the first ones, the shell and sleep", len(found), err)
	}
	for _, m := range []machine.Machine{hub.Machine, leaf.Machine} {
		if err := m.Kill(t.Context()); err != nil {
			t.Error(err)
		}
		if m.Alive() {
			t.Errorf("%s is alive", m.Name)
		}
		if err := m.Kill(t.Context()); err != nil {
			t.Errorf("a machine that is gone: %v", err)
		}
	}
	left := []string{"not looked yet"}
	for deadline := time.Now().Add(5 * time.Second); len(left) > 0 && time.Now().Before(deadline); {
		removeCgroups(t, trace)
		if left, err = trace.Find(); err != nil {
			t.Fatal(err)
		}
	}
	if len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestKernelFindNeedsNoNotes(t *testing.T) {
	hub, leaf, trace := start(t)
	got, err := machine.Find(trace.StateDir)
	if err != nil || len(got) != 2 {
		t.Fatalf("found %+v, %v, want two machines", got, err)
	}
	for _, m := range got {
		if m != hub.Machine && m != leaf.Machine {
			t.Errorf("found %+v", m)
		}
	}
	if got, err := machine.Find(trace.StateDir + "x"); err != nil || len(got) != 0 {
		t.Errorf("machines of another lab: %+v, %v", got, err)
	}
}

// TestKernelWhoEntersStaysOutside checks that a process that has worked in a machine is not in it afterwards. It
// would kill itself along with the machine.
func TestKernelWhoEntersStaysOutside(t *testing.T) {
	hub, _, trace := start(t)
	// Repeat until one of them is likely to begin on the process's first thread.
	for range 10 {
		var all sync.WaitGroup
		for range 200 {
			all.Go(func() {
				if err := hub.Machine.Do(func() error { time.Sleep(time.Millisecond); return nil }); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	}
	processes, err := trace.Processes()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range processes {
		if p.Ref.PID == os.Getpid() {
			t.Error("this process is taken for one of the machine's")
		}
	}
}
