package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/netpol-agent/netpol-agent/test/e2e/deploy"
	"github.com/netpol-agent/netpol-agent/test/e2e/lab"
	"github.com/netpol-agent/netpol-agent/test/oracle"
)

// ErrUnexpected means that a cell of a matrix, or a claim, is wrong.
var ErrUnexpected = errors.New("not everything is as expected")

// Demo is one run.
type Demo struct {
	cluster *lab.Cluster
	client  kubernetes.Interface
	dirs    lab.Dirs
	out     io.Writer
	colours bool

	release   *deploy.Release
	podNames  []string
	pods      []place
	nodeAddrs map[string][]netip.Addr
	// sources remembers the source addresses of nodes.
	sources map[string]netip.Addr
	// probes and wrong count all probes and the wrong results.
	probes, wrong int
}

// New returns a demo on a cluster that is up, with the release to install. It writes matrices to out, in colour if
// colours is set.
func New(c *lab.Cluster, r *deploy.Release, dirs lab.Dirs, out io.Writer, colours bool) (*Demo, error) {
	cfg, err := c.RESTConfig()
	if err != nil {
		return nil, err
	}
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return nil, err
	}
	return &Demo{
		cluster: c, release: r, client: client, dirs: dirs, out: out, colours: colours,
		nodeAddrs: map[string][]netip.Addr{}, sources: map[string]netip.Addr{},
	}, nil
}

// Run plays all scenarios. It returns ErrUnexpected if any cell or claim is wrong.
func (d *Demo) Run(ctx context.Context) error {
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"build the probe", d.build},
		{"create namespaces, pods and Services", d.createObjects},
		{"remove all policies of the lab's cluster", d.removePolicies},
		{"read addresses", func(ctx context.Context) error {
			return errors.Join(d.readPlaces(ctx), d.readNodeAddrs(ctx))
		}},
		{"helm install: an agent on every node enforces", d.startAgents},
	} {
		began := time.Now()
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
		fmt.Fprintf(d.out, "%-45s %5.1f s\n", step.what, time.Since(began).Seconds())
	}
	for _, s := range scenarios() {
		if err := d.show(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", s.title, err)
		}
	}
	return d.finish(ctx)
}

func (d *Demo) build(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(d.dirs.Repo, "bin", "probe"), "./test/e2e/cmd/probe")
	cmd.Dir = d.dirs.Repo
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

func (d *Demo) removePolicies(ctx context.Context) error {
	_, err := d.kubectl(ctx, "", "delete", "networkpolicy", "--all", "--all-namespaces")
	return err
}

// show plays one scenario.
func (d *Demo) show(ctx context.Context, s scenario) error {
	fmt.Fprintf(d.out, "\n== %s\n", s.title)
	if err := d.change(ctx, s); err != nil {
		return err
	}
	began := time.Now()
	state, err := d.settled(ctx)
	if err != nil {
		return err
	}
	m, err := d.observe(ctx, s.ports, state)
	if err != nil {
		return err
	}
	m.print(d.out, d.colours)
	wrong := 0
	for _, cell := range m.cells {
		for _, o := range cell {
			if o.wrong() {
				wrong++
			}
		}
	}
	wrong += d.checkClaims(s, m)
	d.wrong += wrong
	fmt.Fprintf(d.out, "  %d wrong, %.1f s\n", wrong, time.Since(began).Seconds())
	return nil
}

// change applies and removes the scenario's files with kubectl.
func (d *Demo) change(ctx context.Context, s scenario) error {
	for _, f := range s.remove {
		if _, err := d.kubectl(ctx, "", "delete", "-f", d.example(f)); err != nil {
			return err
		}
		fmt.Fprintf(d.out, "  kubectl delete -f examples/policies/%s\n", f)
	}
	for _, f := range s.apply {
		out, err := d.kubectl(ctx, "", "apply", "-f", d.example(f))
		fmt.Fprintf(d.out, "  kubectl apply -f examples/policies/%s\n", f)
		switch {
		case s.refused == "" && err != nil:
			return err
		case s.refused != "" && err == nil:
			return fmt.Errorf("the API server accepted %s: %s", f, out)
		case s.refused != "" && !strings.Contains(err.Error(), s.refused):
			return fmt.Errorf("%s: the error does not say %q: %w", f, s.refused, err)
		}
	}
	return nil
}

func (d *Demo) example(file string) string {
	return filepath.Join(d.dirs.Repo, "examples", "policies", file)
}

// settle is the time that agents get to apply a change to a policy they already know. Their status cannot show such
// a change. They need some milliseconds.
const settle = 500 * time.Millisecond

// settled waits until the agents enforce what the API server has, and returns it.
func (d *Demo) settled(ctx context.Context) (oracle.State, error) {
	state, err := d.readState(ctx)
	if err != nil {
		return state, err
	}
	names := map[string]bool{}
	for _, p := range state.Policies {
		names[p.Namespace+"/"+p.Name] = true
	}
	if err := d.waitEnforced(ctx, names); err != nil {
		return state, err
	}
	select {
	case <-ctx.Done():
		return state, ctx.Err()
	case <-time.After(settle):
	}
	return state, nil
}

// checkClaims compares what was observed with the hand-written claims, and returns the number of wrong ones.
func (d *Demo) checkClaims(s scenario, m *matrix) int {
	wrong := 0
	for _, c := range s.claims {
		for i, p := range s.ports {
			if p != c.port {
				continue
			}
			cell := m.cells[[2]string{c.from, c.to}]
			if cell == nil || (cell[i] == open || cell[i] == leak) != c.passes {
				wrong++
				fmt.Fprintf(d.out, "  WRONG: %s to %s %s/%d should pass: %v\n", c.from, c.to, p.protocol, p.number, c.passes)
			}
		}
	}
	return wrong
}

// nodePlaces returns the nodes as sources.
func (d *Demo) nodePlaces() []place {
	var out []place
	for _, n := range d.cluster.Nodes {
		out = append(out, place{name: n.Name, node: n.Name})
	}
	return out
}

// kubectl runs kubectl with standard input and returns its standard output.
func (d *Demo) kubectl(ctx context.Context, stdin string, args ...string) ([]byte, error) {
	cmd, err := d.cluster.KubectlCommand(ctx, args...)
	if err != nil {
		return nil, err
	}
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.Output()
	if err != nil {
		return out, fmt.Errorf("kubectl %s: %w", strings.Join(args, " "), err)
	}
	return out, nil
}

// finish prints the reason for one denied pair, the rule counts, and how to continue.
func (d *Demo) finish(ctx context.Context) error {
	fmt.Fprintf(d.out, "\n== why can default/frontend not reach develop/test1?\n")
	cmd, err := d.cluster.ShellCommand(ctx, d.release.Binary(), "explain", "--kubeconfig", d.cluster.Kubeconfig,
		"--from", "default/frontend", "--to", "develop/test1", "--port", "80", "--protocol", "TCP")
	if err != nil {
		return err
	}
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("explain: %w", err)
	}
	d.indent(string(out))
	for _, n := range d.cluster.Nodes {
		fmt.Fprintf(d.out, "\n== metrics of the agent on %s\n", n.Name)
		lines, err := d.metrics(ctx, n.Name)
		if err != nil {
			return err
		}
		d.indent(strings.Join(lines, "\n"))
	}
	fmt.Fprintf(d.out, "\n%d probes, %d wrong\n", d.probes, d.wrong)
	if d.wrong > 0 {
		return ErrUnexpected
	}
	d.goOn(ctx)
	return nil
}

func (d *Demo) indent(text string) {
	for _, line := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		fmt.Fprintln(d.out, "  "+line)
	}
}

// goOn lists commands to continue with by hand.
func (d *Demo) goOn(ctx context.Context) {
	policies, err := d.client.NetworkingV1().NetworkPolicies("").List(ctx, metav1.ListOptions{})
	left := "the last example's policies"
	if err == nil && len(policies.Items) == 1 {
		left = "1 policy"
	} else if err == nil {
		left = fmt.Sprintf("%d policies", len(policies.Items))
	}
	fmt.Fprintf(d.out, `
The cluster, the agents and %s stay. Go on by hand:
  go run ./test/e2e/cmd/lab kubectl get networkpolicy -A
  go run ./test/e2e/cmd/lab kubectl apply -f examples/policies/07-deny-all.yaml
  go run ./test/e2e/cmd/lab kubectl -n develop exec test1 -- /probe try tcp://%s:80
  go run ./test/e2e/cmd/lab kubectl -n %s exec daemonset/%s -- netpol-agent status
  go run ./test/e2e/cmd/lab exec node1 -- nft list table inet netpol-agent
  go run ./test/e2e/cmd/lab shell      # in it kubectl works, and after "make build" bin/netpol-agent explain
  make cluster-down
`, left, d.pods[0].direct, deploy.Namespace, deploy.Name)
}
