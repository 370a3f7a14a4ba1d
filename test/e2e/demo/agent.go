package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"regexp"
	"time"
)

const (
	probeName   = "demo-probe"
	metricsPort = "9475"
	// agentTimeout is how long an agent may take to enforce a change.
	agentTimeout = 30 * time.Second
)

// startAgents installs the agent with its chart, replacing what an earlier run installed, and starts a probe on
// every node.
func (d *Demo) startAgents(ctx context.Context) error {
	for _, n := range d.cluster.Nodes {
		probe := filepath.Join(d.dirs.Repo, "bin", "probe")
		if err := d.restart(ctx, n.Name, probeName, probe, "serve", "-name", n.Name); err != nil {
			return err
		}
	}
	return d.release.Install(ctx)
}

// restart stops the process of this name that an earlier run of the demo left, and starts it again.
func (d *Demo) restart(ctx context.Context, node, name string, argv ...string) error {
	if old, err := d.cluster.ProcessInNode(ctx, node, name); err == nil {
		if _, err := old.Stop(ctx, 5*time.Second); err != nil {
			return fmt.Errorf("stop %s on %s: %w", name, node, err)
		}
	}
	if _, err := d.cluster.StartInNode(ctx, node, name, argv...); err != nil {
		return fmt.Errorf("start %s on %s: %w", name, node, err)
	}
	return nil
}

// waitEnforced waits until every agent knows exactly these policies and has nothing left to write.
func (d *Demo) waitEnforced(ctx context.Context, policies map[string]bool) error {
	for _, n := range d.cluster.Nodes {
		for end := time.Now().Add(agentTimeout); ; {
			s, err := d.release.Status(ctx, n.Name)
			if err != nil {
				return err
			}
			same := len(s.Policies) == len(policies)
			for _, p := range s.Policies {
				same = same && policies[p.Name]
			}
			if same && s.Pending == 0 {
				break
			}
			if time.Now().After(end) {
				return fmt.Errorf("agent on %s knows %d policies, the API server %d; %d changes pending", n.Name, len(s.Policies), len(policies), s.Pending)
			}
		}
	}
	return nil
}

// readNodeAddrs reads all addresses of all nodes.
func (d *Demo) readNodeAddrs(ctx context.Context) error {
	for _, n := range d.cluster.Nodes {
		out, err := d.cluster.NodeExec(ctx, n.Name, "ip", "-j", "addr")
		if err != nil {
			return err
		}
		var links []struct {
			Addrs []struct {
				Local string `json:"local"`
			} `json:"addr_info"`
		}
		if err := json.Unmarshal(out, &links); err != nil {
			return fmt.Errorf("node %s: addresses: %w", n.Name, err)
		}
		for _, l := range links {
			for _, a := range l.Addrs {
				if addr, err := netip.ParseAddr(a.Local); err == nil {
					d.nodeAddrs[n.Name] = append(d.nodeAddrs[n.Name], addr)
				}
			}
		}
	}
	return nil
}

var ruleCounts = regexp.MustCompile(`(?m)^netpol_agent_(rules|chains|sets|elements|policies|local_pods)\{.*$`)

// metrics returns the lines about rules, policies and pods from an agent's metrics.
func (d *Demo) metrics(ctx context.Context, node string) ([]string, error) {
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DialContext: d.cluster.DialContext(node)}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort("127.0.0.1", metricsPort)+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("metrics of the agent on %s: %w", node, err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("metrics of the agent on %s: %s: %w", node, resp.Status, err)
	}
	lines := ruleCounts.FindAllString(string(body), -1)
	if len(lines) == 0 {
		return nil, fmt.Errorf("metrics of the agent on %s: no rule counts", node)
	}
	return lines, nil
}
