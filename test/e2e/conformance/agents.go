package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/netpol-agent/netpol-agent/test/e2e/deploy"
	"github.com/netpol-agent/netpol-agent/test/e2e/lab"
)

// agents are the agents of all nodes.
type agents interface {
	// check returns what went wrong with them since their start. A suite may pass although an agent stopped.
	check(ctx context.Context) []string
	// logs returns their logs, by node.
	logs(ctx context.Context) (map[string][]byte, error)
}

// buildAgents builds what startAgents needs, before there is a cluster.
func buildAgents(ctx context.Context, dirs lab.Dirs, backend string) error {
	return deploy.Build(ctx, dirs.Repo, deploy.FlavourFor(backend))
}

// chartValues returns the helm arguments that select a backend.
func chartValues(backend string) []string {
	name, variant, is := strings.Cut(backend, "-")
	values := []string{"--set-string", "backend=" + name}
	if is {
		values = append(values, "--set-string", "iptablesVariant="+variant)
	}
	return values
}

// installed holds the agents that the chart installed, as for users.
type installed struct {
	release *deploy.Release
	// first holds the agents as they were before the suite, by node.
	first map[string]deploy.Agent
}

// startAgents installs the chart, or upgrades it, and waits until an agent on every node enforces.
func startAgents(ctx context.Context, c *lab.Cluster, dirs lab.Dirs, backend string) (agents, error) {
	r, err := deploy.New(c, dirs.Repo, deploy.FlavourFor(backend))
	if err != nil {
		return nil, err
	}
	if err := r.Install(ctx, chartValues(backend)...); err != nil {
		return nil, err
	}
	for _, n := range c.Nodes {
		s, err := r.Status(ctx, n.Name)
		if err != nil {
			return nil, err
		}
		if !strings.HasPrefix(s.Backend, backend) {
			return nil, fmt.Errorf("the agent on %s enforces with %s, not with %s", n.Name, s.Backend, backend)
		}
	}
	all, err := r.Agents(ctx)
	if err != nil {
		return nil, err
	}
	a := &installed{release: r, first: map[string]deploy.Agent{}}
	for _, agent := range all {
		a.first[agent.Node] = agent
	}
	return a, nil
}

func (a *installed) check(ctx context.Context) []string {
	now, err := a.release.Agents(ctx)
	if err != nil {
		return []string{err.Error()}
	}
	wrong := a.changes(now)
	logs, err := a.logs(ctx)
	if err != nil {
		wrong = append(wrong, err.Error())
	}
	for node, log := range logs {
		if errs := errorLines(log, a.first[node].Started); errs > 0 {
			wrong = append(wrong, fmt.Sprintf("%s: the agent logged %d errors", node, errs))
		}
	}
	return wrong
}

// changes describes the agents that were replaced, restarted or lost since the beginning.
func (a *installed) changes(now []deploy.Agent) []string {
	var wrong []string
	left := map[string]bool{}
	for node := range a.first {
		left[node] = true
	}
	for _, agent := range now {
		was, known := a.first[agent.Node]
		delete(left, agent.Node)
		switch {
		case !known || agent.UID != was.UID:
			wrong = append(wrong, fmt.Sprintf("%s: another agent than before the suite: %s", agent.Node, agent.Pod))
		case agent.Restarts != was.Restarts || agent.Trouble != "":
			wrong = append(wrong, fmt.Sprintf("%s: the agent was restarted %d times: %s", agent.Node, agent.Restarts-was.Restarts, agent.Trouble))
		}
	}
	for node := range left {
		wrong = append(wrong, node+": the agent is gone")
	}
	return wrong
}

func (a *installed) logs(ctx context.Context) (map[string][]byte, error) {
	logs := map[string][]byte{}
	var errs error
	for node, agent := range a.first {
		log, err := a.release.Log(ctx, agent.Pod, false)
		errs = errors.Join(errs, err)
		logs[node] = log
	}
	return logs, errs
}

// errorLines counts the errors in an agent's log since a time.
func errorLines(log []byte, since time.Time) int {
	count := 0
	for line := range bytes.Lines(log) {
		var entry struct {
			Time  time.Time `json:"time"`
			Level string    `json:"level"`
		}
		if json.Unmarshal(line, &entry) == nil && entry.Level == "ERROR" && !entry.Time.Before(since) {
			count++
		}
	}
	return count
}

// keepEvidence writes the agents' logs and the kernel's rules into a folder.
func keepEvidence(ctx context.Context, c *lab.Cluster, a agents, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	logs, errs := a.logs(ctx)
	for node, log := range logs {
		errs = errors.Join(errs, os.WriteFile(filepath.Join(dir, node+".log"), log, 0o644))
	}
	for _, n := range c.Nodes {
		for ending, show := range map[string][]string{
			"nft": {"nft", "list", "ruleset"}, "iptables": {"iptables-save"}, "ip6tables": {"ip6tables-save"}, "ipset": {"ipset", "save"},
		} {
			// The other backend's programs may be missing.
			if rules, err := c.NodeExec(ctx, n.Name, show...); err == nil {
				errs = errors.Join(errs, os.WriteFile(filepath.Join(dir, n.Name+"."+ending), rules, 0o644))
			}
		}
	}
	return errs
}
