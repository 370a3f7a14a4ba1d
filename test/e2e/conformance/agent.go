package conformance

import (
	"bytes"
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

const (
	agentName = "netpol-agent"
	// agentTimeout is how long an agent may take until it is ready.
	agentTimeout = 30 * time.Second
)

// agents are the agent's processes, one on each node, as a DaemonSet would have them.
type agents struct {
	cluster *lab.Cluster
	binary  string
	// started are the times they were started at, by node.
	started map[string]time.Time
}

// startAgents builds the agent that the checkout holds, starts it on every node in place of a former run's, and
// waits until all of them enforce.
func startAgents(ctx context.Context, c *lab.Cluster, dirs lab.Dirs) (*agents, error) {
	bin := filepath.Join(dirs.Cache, "conformance")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return nil, err
	}
	if err := parts.BuildOwn(ctx, dirs.Repo, bin, "./cmd/"+agentName); err != nil {
		return nil, err
	}
	a := &agents{cluster: c, binary: filepath.Join(bin, agentName), started: map[string]time.Time{}}
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

func (a *agents) start(ctx context.Context, node string) error {
	if old, err := a.cluster.ProcessInNode(ctx, node, agentName); err == nil {
		if _, err := old.Stop(ctx, 5*time.Second); err != nil {
			return fmt.Errorf("stop the agent on %s: %w", node, err)
		}
	}
	p, err := a.cluster.StartInNode(ctx, node, agentName, a.binary, "run", "--node-name", node)
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
func (a *agents) waitReady(ctx context.Context, node string) error {
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

func (a *agents) log(node string) string {
	return filepath.Join(a.cluster.LogDir(node), agentName+".log")
}

// check says what went wrong with the agents since their start: a suite may pass although they ended.
func (a *agents) check(ctx context.Context) []string {
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
		if errs := a.errorLines(n.Name); errs > 0 {
			wrong = append(wrong, fmt.Sprintf("%s: the agent logged %d errors (%s)", n.Name, errs, a.log(n.Name)))
		}
	}
	return wrong
}

// errorLines counts the errors that the agent has logged since its start.
func (a *agents) errorLines(node string) int {
	data, err := os.ReadFile(a.log(node))
	if err != nil {
		return 0
	}
	count := 0
	for line := range bytes.Lines(data) {
		var entry struct {
			Time  time.Time `json:"time"`
			Level string    `json:"level"`
		}
		if json.Unmarshal(line, &entry) == nil && entry.Level == "ERROR" && !entry.Time.Before(a.started[node]) {
			count++
		}
	}
	return count
}

// keepEvidence copies what the agents said and what the kernel has into a folder.
func (a *agents) keepEvidence(ctx context.Context, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, n := range a.cluster.Nodes {
		if log, err := os.ReadFile(a.log(n.Name)); err == nil {
			if err := os.WriteFile(filepath.Join(dir, n.Name+".log"), log, 0o644); err != nil {
				return err
			}
		}
		if rules, err := a.cluster.NodeExec(ctx, n.Name, "nft", "list", "ruleset"); err == nil {
			if err := os.WriteFile(filepath.Join(dir, n.Name+".nft"), rules, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}
