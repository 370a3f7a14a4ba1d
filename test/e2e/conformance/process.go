package conformance

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/netpol-agent/netpol-agent/test/e2e/lab"
	"github.com/netpol-agent/netpol-agent/test/e2e/lab/parts"
)

// agentTimeout is how long a process may take until it is ready.
const agentTimeout = 30 * time.Second

// processes are the agent as a process on each node: its image has none of the programs that the backend iptables
// needs.
type processes struct {
	cluster *lab.Cluster
	backend string
	binary  string
	// started are the times they were started at, by node.
	started map[string]time.Time
}

// startProcesses builds the agent that the checkout holds, starts it on every node in place of a former run's, and
// waits until all of them enforce.
func startProcesses(ctx context.Context, c *lab.Cluster, dirs lab.Dirs, backend string) (*processes, error) {
	bin := filepath.Join(dirs.Cache, "conformance")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return nil, err
	}
	if err := parts.BuildOwn(ctx, dirs.Repo, bin, "./cmd/"+agentName); err != nil {
		return nil, err
	}
	a := &processes{cluster: c, backend: backend, binary: filepath.Join(bin, agentName), started: map[string]time.Time{}}
	for _, n := range c.Nodes {
		if err := a.start(ctx, n.Name); err != nil {
			return nil, err
		}
	}
	for _, n := range c.Nodes {
		if err := a.waitReady(ctx, n.Name); err != nil {
			return nil, err
		}
	}
	return a, nil
}

func (a *processes) start(ctx context.Context, node string) error {
	if old, err := a.cluster.ProcessInNode(ctx, node, agentName); err == nil {
		if _, err := old.Stop(ctx, 5*time.Second); err != nil {
			return fmt.Errorf("stop the agent on %s: %w", node, err)
		}
	}
	p, err := a.cluster.StartInNode(ctx, node, agentName, a.binary, "run", "--node-name", node, "--backend", a.backend)
	if err != nil {
		return fmt.Errorf("start the agent on %s: %w", node, err)
	}
	st, err := p.Status(ctx)
	if err != nil {
		return err
	}
	a.started[node] = st.Started
	return nil
}

// waitReady asks the agent's status until it enforces.
func (a *processes) waitReady(ctx context.Context, node string) error {
	var last error
	for end := time.Now().Add(agentTimeout); time.Now().Before(end); {
		var s struct {
			Ready    bool     `json:"ready"`
			NotReady []string `json:"notReady"`
		}
		out, err := a.cluster.NodeExec(ctx, node, a.binary, "status", "--output", "json")
		if err == nil {
			err = json.Unmarshal(out, &s)
		}
		if err == nil && s.Ready {
			return nil
		}
		if last = err; last == nil {
			last = fmt.Errorf("not ready: %s", strings.Join(s.NotReady, "; "))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
	return fmt.Errorf("agent on %s (log: %s): %w", node, a.log(node), last)
}

func (a *processes) log(node string) string {
	return filepath.Join(a.cluster.LogDir(node), agentName+".log")
}

// check says what went wrong with the agents since their start: a suite may pass although they ended.
func (a *processes) check(ctx context.Context) []string {
	var wrong []string
	for _, n := range a.cluster.Nodes {
		p, err := a.cluster.ProcessInNode(ctx, n.Name, agentName)
		if err != nil {
			wrong = append(wrong, fmt.Sprintf("%s: %v", n.Name, err))
			continue
		}
		st, err := p.Status(ctx)
		switch {
		case err != nil:
			wrong = append(wrong, fmt.Sprintf("%s: %v", n.Name, err))
		case !st.Running:
			wrong = append(wrong, fmt.Sprintf("%s: the agent ended with status %d", n.Name, st.ExitCode))
		case !st.Started.Equal(a.started[n.Name]):
			wrong = append(wrong, n.Name+": somebody else started the agent anew")
		}
		data, err := os.ReadFile(a.log(n.Name))
		if err != nil {
			wrong = append(wrong, fmt.Sprintf("%s: %v", n.Name, err))
		}
		if errs := errorLines(data, a.started[n.Name]); errs > 0 {
			wrong = append(wrong, fmt.Sprintf("%s: the agent logged %d errors (%s)", n.Name, errs, a.log(n.Name)))
		}
	}
	return wrong
}

func (a *processes) logs(_ context.Context) (map[string][]byte, error) {
	logs := map[string][]byte{}
	for _, n := range a.cluster.Nodes {
		data, err := os.ReadFile(a.log(n.Name))
		if err != nil {
			return logs, err
		}
		logs[n.Name] = data
	}
	return logs, nil
}
