package lab

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/netpol-agent/netpol-agent/test/e2e/lab/machine"
	"github.com/netpol-agent/netpol-agent/test/e2e/lab/manifest"
)

// Cluster is a cluster that is up.
type Cluster struct {
	// Nodes are the cluster's nodes, by name.
	Nodes []Node
	// Kubeconfig is the path of the administrator's kubeconfig. Its server can be reached from the cluster's
	// machines only: by processes on the nodes, and through RESTConfig and Kubectl from this machine.
	Kubeconfig string
	// Kubectl is the path of a kubectl of the cluster's release.
	Kubectl string
	// Options are the options it was started with.
	Options Options

	dirs  Dirs
	state state
}

// Load returns the cluster of a state directory. It fails with ErrNotUp if there is none or if one of its
// machines has died.
func Load(stateDir string) (*Cluster, error) {
	s, err := readState(stateDir)
	if err != nil {
		return nil, err
	}
	if !s.Up {
		return nil, fmt.Errorf("%w in %s: its start has not finished", ErrNotUp, stateDir)
	}
	for _, m := range s.machines() {
		if !m.Alive() {
			return nil, fmt.Errorf("%w in %s: machine %s has died", ErrNotUp, stateDir, m.Name)
		}
	}
	return newCluster(Dirs{State: stateDir}, s), nil
}

func newCluster(d Dirs, s state) *Cluster {
	return &Cluster{
		Nodes:      s.Nodes,
		Kubeconfig: manifest.Cluster{StateDir: d.State}.Kubeconfig(),
		Kubectl:    s.Kubectl,
		Options:    s.Options,
		dirs:       d,
		state:      s,
	}
}

// Node returns the node of that name.
func (c *Cluster) Node(name string) (Node, error) {
	for _, n := range c.Nodes {
		if n.Name == name {
			return n, nil
		}
	}
	return Node{}, fmt.Errorf("no node %s: there are %s", name, strings.Join(c.machineNames(), ", "))
}

// machine returns a node's machine or the control plane's.
func (c *Cluster) machine(name string) (machine.Machine, error) {
	if name == manifest.ControlPlaneName {
		return c.state.ControlPlane, nil
	}
	n, err := c.Node(name)
	return n.Machine, err
}

func (c *Cluster) machineNames() []string {
	names := []string{manifest.ControlPlaneName}
	for _, n := range c.Nodes {
		names = append(names, n.Name)
	}
	return names
}

// LogDir returns the folder of the logs of a machine's processes, one file for each process. They stay until the
// next start.
func (c *Cluster) LogDir(machineName string) string {
	return filepath.Join(c.dirs.logs(), machineName)
}

// DialContext returns a function that opens connections from the network namespace of a node, or of the control
// plane ("cp"). Addresses must be numeric: no name is looked up.
func (c *Cluster) DialContext(machineName string) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		m, err := c.machine(machineName)
		if err != nil {
			return nil, err
		}
		return dialFrom(ctx, m, network, address)
	}
}

func dialFrom(ctx context.Context, m machine.Machine, network, address string) (net.Conn, error) {
	var conn net.Conn
	err := m.Do(func() (err error) {
		conn, err = (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// RESTConfig returns a configuration for the cluster's API, with the administrator's rights. It works from this
// machine's own namespaces.
func (c *Cluster) RESTConfig() (*rest.Config, error) {
	cfg, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig %s: %w", c.Kubeconfig, err)
	}
	cfg.Dial = c.DialContext(manifest.ControlPlaneName)
	// A lab's harness is the only client, so it need not be throttled.
	cfg.QPS, cfg.Burst = 200, 400
	return cfg, nil
}

// ProbeImage is the image that every node has for pods: the probe, and busybox.
const ProbeImage = manifest.ProbeImage
