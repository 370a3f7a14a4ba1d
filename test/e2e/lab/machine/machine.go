package machine

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netpol-agent/netpol-agent/test/e2e/lab/supervisor"
)

// argv0 is the name of a machine's first process. Its next arguments are the state directory and the machine's
// name.
const argv0 = "netpol-lab-machine"

// SetupName is the name of the process that sets a machine up and ends.
const SetupName = "setup"

// namespaces are the namespaces in which a machine's first process is started. The cgroup namespace comes later,
// because its root is the cgroup of the process at that moment.
const namespaces = unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC

//go:embed setup.sh
var setupScript string

// Machine is a machine of the lab that was started, alive or not.
type Machine struct {
	// Name is its host name.
	Name string `json:"name"`
	// Dir is the folder on this machine that holds everything it writes.
	Dir string `json:"dir"`
	// Init is its first process.
	Init Ref `json:"init"`
}

// Config says what machine to start.
type Config struct {
	// StateDir is the lab's folder; the machine's own is the folder Name in it.
	StateDir string
	Name     string
	// LogDir is the folder for the logs of the machine's processes.
	LogDir string
	// Init is the path of the machine-init program.
	Init string
	// Cgroup is the cgroup that holds all of the machine's processes, the same in every hierarchy.
	Cgroup string
	// Path is the PATH of what runs on the machine.
	Path string
}

// Start starts a machine and returns when it is ready to run processes. started is called as soon as there is a
// process to record.
func Start(ctx context.Context, cfg Config, started func(Machine) error) (Machine, error) {
	m := Machine{Name: cfg.Name, Dir: filepath.Join(cfg.StateDir, cfg.Name)}
	for _, dir := range []string{m.Dir, cfg.LogDir} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return m, err
		}
	}
	if err := makeCgroups(filepath.Join(cfg.Cgroup, ownCgroup)); err != nil {
		return m, fmt.Errorf("machine %s: %w", m.Name, err)
	}
	proceed, err := m.startInit(ctx, cfg)
	if err != nil {
		return m, fmt.Errorf("machine %s: %w", m.Name, err)
	}
	defer func() { _ = proceed.Close() }()
	if err := started(m); err != nil {
		return m, err
	}
	if err := m.settle(ctx, cfg, proceed); err != nil {
		return m, fmt.Errorf("machine %s: %w", m.Name, err)
	}
	return m, nil
}

// startInit starts the machine's first process, which waits for a line on the returned file.
func (m *Machine) startInit(ctx context.Context, cfg Config) (proceed *os.File, err error) {
	log, err := os.OpenFile(filepath.Join(cfg.LogDir, "init.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	stdin, proceed, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer func() { _ = stdin.Close() }()
	_ = os.Remove(m.socket())
	// The machine outlives the process that started it.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), cfg.Init)
	cmd.Args = []string{argv0, cfg.StateDir, m.Name, m.socket()}
	cmd.Env = []string{"PATH=" + cfg.Path, Marker(cfg.StateDir)}
	cmd.Dir = "/"
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, log, log
	// The process gets its own session, because an interrupt at the terminal is for the lab, which then kills the
	// machine.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Cloneflags: namespaces}
	if err := cmd.Start(); err != nil {
		_ = proceed.Close()
		return nil, fmt.Errorf("start %s in new namespaces: %w", cfg.Init, err)
	}
	go func() { _ = cmd.Wait() }()
	if m.Init, err = RefOf(cmd.Process.Pid); err != nil {
		_ = proceed.Close()
		return nil, err
	}
	return proceed, nil
}

// settle moves the first process into its cgroups, lets it continue, and has it set up the machine.
func (m Machine) settle(ctx context.Context, cfg Config, proceed *os.File) error {
	if err := joinCgroups(cfg.Cgroup, m.Init.PID); err != nil {
		return err
	}
	// The process makes its cgroup the root that the machine sees, and then moves into one below it.
	if _, err := proceed.WriteString("go\n"); err != nil {
		return err
	}
	if err := m.awaitInit(ctx); err != nil {
		return err
	}
	if err := joinCgroups(filepath.Join(cfg.Cgroup, ownCgroup), m.Init.PID); err != nil {
		return err
	}
	st, err := m.Supervisor().Run(ctx, supervisor.Spec{
		Name: SetupName,
		Argv: []string{"/bin/sh", "-euc", setupScript, "setup.sh", cfg.StateDir, m.Name, cfg.LogDir},
		Env:  []string{"PATH=" + cfg.Path, Marker(cfg.StateDir)},
		Log:  filepath.Join(cfg.LogDir, SetupName+".log"),
	})
	if err == nil && st.ExitCode != 0 {
		err = fmt.Errorf("set-up ended with status %d", st.ExitCode)
	}
	return err
}

func (m Machine) awaitInit(ctx context.Context) error {
	for {
		_, err := m.Supervisor().List(ctx)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("wait for its first process: %w", ctx.Err())
		case !m.Init.Alive():
			return errors.New("its first process has ended; see init.log")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (m Machine) socket() string { return filepath.Join(m.Dir, "init.sock") }

// Supervisor returns a client of the machine's first process.
func (m Machine) Supervisor() supervisor.Client { return supervisor.Client{Socket: m.socket()} }

// Alive reports whether the machine runs.
func (m Machine) Alive() bool { return m.Init.Alive() }

// Root returns the path of the machine's files on this machine.
func (m Machine) Root() string { return fmt.Sprintf("/proc/%d/root", m.Init.PID) }

// NetNS returns the path of the machine's network namespace.
func (m Machine) NetNS() string { return fmt.Sprintf("/proc/%d/ns/net", m.Init.PID) }

// Kill kills every process of the machine and waits until they are gone, and with them their mounts and interfaces.
// It is not an error if the machine does not run.
func (m Machine) Kill(ctx context.Context) error {
	if err := m.Init.Kill(ctx); err != nil {
		return fmt.Errorf("end machine %s: %w", m.Name, err)
	}
	return nil
}

// Find returns the running machines of a state directory, recognized by the arguments of their first processes. It
// needs no notes, so it also finds what a crash left.
func Find(stateDir string) ([]Machine, error) {
	pids, err := Processes()
	if err != nil {
		return nil, err
	}
	var all []Machine
	for _, pid := range pids {
		ref, err := RefOf(pid)
		if err != nil {
			continue
		}
		args := cmdline(pid)
		if len(args) != 4 || args[0] != argv0 || args[1] != stateDir || !ref.Alive() {
			continue
		}
		all = append(all, Machine{Name: args[2], Dir: filepath.Join(stateDir, args[2]), Init: ref})
	}
	return all, nil
}
