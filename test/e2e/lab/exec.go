package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/netpol-agent/netpol-agent/test/e2e/lab/machine"
	"github.com/netpol-agent/netpol-agent/test/e2e/lab/manifest"
	"github.com/netpol-agent/netpol-agent/test/e2e/lab/supervisor"
)

// Command prepares a command on a node or on the control plane ("cp"), inside all of its namespaces, with the
// lab's PATH and KUBECONFIG. The caller sets its streams and calls Run. The program is looked up in the lab's
// PATH. When the context ends, the command is killed.
func (c *Cluster) Command(ctx context.Context, machineName string, argv ...string) (*Command, error) {
	m, err := c.machine(machineName)
	if err != nil {
		return nil, err
	}
	return c.command(ctx, m, machine.Whole, argv)
}

// KubectlCommand prepares kubectl with the administrator's rights. It sees this machine's files and the
// cluster's network.
func (c *Cluster) KubectlCommand(ctx context.Context, args ...string) (*Command, error) {
	return c.command(ctx, c.state.ControlPlane, machine.Network, append([]string{c.Kubectl}, args...))
}

// ShellCommand prepares a command that sees this machine's files and the network of the control plane, so that
// kubectl works in it.
func (c *Cluster) ShellCommand(ctx context.Context, argv ...string) (*Command, error) {
	return c.command(ctx, c.state.ControlPlane, machine.Network, argv)
}

// Command is a command on a machine of the lab.
type Command struct {
	*exec.Cmd
	machine machine.Machine
	scope   machine.Scope
}

func (c *Cluster) command(ctx context.Context, m machine.Machine, scope machine.Scope, argv []string) (*Command, error) {
	if len(argv) == 0 {
		return nil, errors.New("no command")
	}
	file, err := c.lookPath(argv[0])
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, file, argv[1:]...)
	cmd.Args[0] = argv[0]
	cmd.Env = c.environment()
	if wd, err := os.Getwd(); err == nil {
		cmd.Dir = wd
	}
	return &Command{Cmd: cmd, machine: m, scope: scope}, nil
}

// Start starts the command in its machine's namespaces.
func (c *Command) Start() error { return c.machine.Start(c.Cmd, c.scope) }

// Run starts the command and waits for its end.
func (c *Command) Run() error {
	if err := c.Start(); err != nil {
		return err
	}
	return c.Wait()
}

// Output runs the command and returns its standard output; an error carries the end of its standard error.
func (c *Command) Output() ([]byte, error) {
	var stdout, stderr strings.Builder
	c.Stdout, c.Stderr = &stdout, &stderr
	if err := c.Run(); err != nil {
		return []byte(stdout.String()), fmt.Errorf("%s: %w: %s", filepath.Base(c.Path), err, strings.TrimSpace(stderr.String()))
	}
	return []byte(stdout.String()), nil
}

// environment returns this process's environment with the lab's PATH and KUBECONFIG.
func (c *Cluster) environment() []string {
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "PATH=") && !strings.HasPrefix(v, "KUBECONFIG=") {
			env = append(env, v)
		}
	}
	path := c.state.Path
	if own := os.Getenv("PATH"); own != "" {
		path += ":" + own
	}
	return append(env, "PATH="+path, "KUBECONFIG="+c.Kubeconfig, machine.Marker(c.dirs.State))
}

// processEnv returns the environment of long-running processes.
func processEnv(stateDir, path string) []string {
	return []string{"PATH=" + path, "HOME=/root", machine.Marker(stateDir)}
}

// lookPath finds a program in the lab's PATH, then in this process's. A path with a slash is used as it is.
func (c *Cluster) lookPath(name string) (string, error) {
	if strings.Contains(name, "/") {
		return filepath.Abs(name)
	}
	for dir := range strings.SplitSeq(c.state.Path, ":") {
		file := filepath.Join(dir, name)
		if info, err := os.Stat(file); err == nil && !info.IsDir() && info.Mode()&0o111 != 0 {
			return file, nil
		}
	}
	return exec.LookPath(name)
}

// NodeExec runs a command on a node and returns its standard output; an error carries its standard error.
func (c *Cluster) NodeExec(ctx context.Context, node string, argv ...string) ([]byte, error) {
	cmd, err := c.Command(ctx, node, argv...)
	if err != nil {
		return nil, err
	}
	return cmd.Output()
}

// Process is a process that was started on a machine of the lab.
type Process struct {
	// Name and Node are the name and node it was started with.
	Name, Node string
	// LogPath is the file with its output.
	LogPath string

	supervisor supervisor.Client
}

// StartInNode starts a process on a node, in all of the node's namespaces, as a host-network and host-PID pod would
// run. It outlives its starter and ends with Stop or with the cluster. Its output goes to the file NAME.log in the
// node's log directory. It fails if a process of that name is already running on the node. The process's
// environment is the lab's PATH, KUBECONFIG and HOME only.
func (c *Cluster) StartInNode(ctx context.Context, node, name string, argv ...string) (*Process, error) {
	n, err := c.Node(node)
	if err != nil {
		return nil, err
	}
	if len(argv) == 0 {
		return nil, fmt.Errorf("start %s on %s: no command", name, node)
	}
	file, err := c.lookPath(argv[0])
	if err != nil {
		return nil, fmt.Errorf("start %s on %s: %w", name, node, err)
	}
	p := c.process(n, name)
	_, err = p.supervisor.Start(ctx, supervisor.Spec{
		Name: name,
		Argv: append([]string{file}, argv[1:]...),
		Env:  append(processEnv(c.dirs.State, c.state.Path), "KUBECONFIG="+c.Kubeconfig),
		Log:  p.LogPath,
	})
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", node, err)
	}
	return p, nil
}

// ProcessInNode returns the handle of a process that was started on a node before, by this process or another. It
// fails if no process of that name was started.
func (c *Cluster) ProcessInNode(ctx context.Context, node, name string) (*Process, error) {
	n, err := c.Node(node)
	if err != nil {
		return nil, err
	}
	p := c.process(n, name)
	if _, err := p.Status(ctx); err != nil {
		return nil, err
	}
	return p, nil
}

func (c *Cluster) process(n Node, name string) *Process {
	return &Process{
		Name:       name,
		Node:       n.Name,
		LogPath:    filepath.Join(c.LogDir(n.Name), name+".log"),
		supervisor: n.Machine.Supervisor(),
	}
}

// Status reports whether the process runs and how it ended.
func (p *Process) Status(ctx context.Context) (supervisor.Status, error) {
	all, err := p.supervisor.List(ctx)
	if err != nil {
		return supervisor.Status{}, err
	}
	for _, st := range all {
		if st.Spec.Name == p.Name {
			return st, nil
		}
	}
	return supervisor.Status{}, fmt.Errorf("no process %s was started on %s", p.Name, p.Node)
}

// Signal sends it a signal.
func (p *Process) Signal(ctx context.Context, sig syscall.Signal) error {
	return p.supervisor.Signal(ctx, p.Name, sig)
}

// Wait returns once it has ended.
func (p *Process) Wait(ctx context.Context) (supervisor.Status, error) {
	return p.supervisor.Wait(ctx, p.Name)
}

// Stop sends SIGTERM, and SIGKILL after grace, and returns how it ended.
func (p *Process) Stop(ctx context.Context, grace time.Duration) (supervisor.Status, error) {
	return p.supervisor.Stop(ctx, p.Name, grace)
}

// MachineStatus is what runs on a machine.
type MachineStatus struct {
	Name string
	// Alive is false if the machine has died. Processes is then empty.
	Alive     bool
	Processes []supervisor.Status
}

// Status returns what runs on each machine, without the one-off commands of the start.
func (c *Cluster) Status(ctx context.Context) []MachineStatus {
	var all []MachineStatus
	for _, name := range c.machineNames() {
		m, err := c.machine(name)
		if err != nil {
			continue
		}
		st := MachineStatus{Name: name, Alive: m.Alive()}
		list, err := m.Supervisor().List(ctx)
		st.Alive = st.Alive && err == nil
		for _, p := range list {
			if p.Spec.Name != machine.SetupName {
				st.Processes = append(st.Processes, p)
			}
		}
		all = append(all, st)
	}
	return all
}

// partNames returns the processes that a machine of the cluster must run.
func partNames(machineName string) []string {
	if machineName == manifest.ControlPlaneName {
		return []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"}
	}
	return []string{"containerd", "kubelet", "flanneld", "kube-proxy"}
}

// Healthy returns an error that names the first part of the cluster that does not run. It ignores processes that
// others started on the nodes.
func (c *Cluster) Healthy(ctx context.Context) error {
	for _, m := range c.Status(ctx) {
		if !m.Alive {
			return fmt.Errorf("machine %s has died", m.Name)
		}
		running := map[string]bool{}
		for _, p := range m.Processes {
			running[p.Spec.Name] = p.Running
		}
		for _, name := range partNames(m.Name) {
			if !running[name] {
				return fmt.Errorf("%s on %s does not run", name, m.Name)
			}
		}
	}
	return nil
}
