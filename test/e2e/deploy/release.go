package deploy

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"k8s.io/client-go/kubernetes"

	"github.com/netpol-agent/netpol-agent/test/e2e/lab"
)

// Names of the release and its DaemonSet.
const (
	Namespace = "kube-system"
	Name      = "netpol-agent"
)

// Release is the chart in a cluster, installed or to be.
type Release struct {
	cluster *lab.Cluster
	client  kubernetes.Interface
	image   Image
	repo    string
	// host and port are the API server's. The lab's nodes have no default route, and therefore none to Services.
	host, port string
}

// New returns a release of the image in a checkout's bin folder. It changes nothing.
func New(c *lab.Cluster, repo string, flavour Flavour) (*Release, error) {
	image, err := ReadImage(repo, flavour)
	if err != nil {
		return nil, err
	}
	r := &Release{cluster: c, image: image, repo: repo}
	for path, target := range map[string]string{r.helm(): "bin/helm", r.Binary(): "image"} {
		if _, err := os.Stat(path); err != nil {
			return nil, fmt.Errorf("%w: run \"make %s\"", err, target)
		}
	}
	config, err := c.RESTConfig()
	if err != nil {
		return nil, err
	}
	if r.host, r.port, err = net.SplitHostPort(strings.TrimPrefix(config.Host, "https://")); err != nil {
		return nil, fmt.Errorf("API server %s: %w", config.Host, err)
	}
	if r.client, err = kubernetes.NewForConfig(config); err != nil {
		return nil, err
	}
	return r, nil
}

// Image returns the image to install.
func (r *Release) Image() Image { return r.image }

// Chart returns the chart's folder.
func (r *Release) Chart() string { return filepath.Join(r.repo, "charts", "netpol-agent") }

// Binary returns the path of the image's program. Processes on this machine and on the nodes can run it. On a node
// it talks to the agent there.
func (r *Release) Binary() string {
	return filepath.Join(r.repo, "bin", "image", runtime.GOARCH, "netpol-agent")
}

func (r *Release) helm() string { return filepath.Join(r.repo, "bin", "helm") }

// APIServer returns the address at which the agents reach the API server.
func (r *Release) APIServer() (host, port string) { return r.host, r.port }

// Values returns the helm arguments that name the image and the API server.
func (r *Release) Values() []string {
	return []string{
		"--set", "image.pullPolicy=Never", "--set-string", "image.repository=" + r.image.Repository,
		"--set-string", "image.tag=" + r.image.Tag(),
		"--set-string", "apiServer.host=" + r.host, "--set", "apiServer.port=" + r.port,
	}
}

// Install installs the chart, or upgrades what is installed, and waits until every node's agent enforces. The
// arguments are passed to helm in addition to Values.
func (r *Release) Install(ctx context.Context, args ...string) error {
	if err := r.importImage(ctx); err != nil {
		return err
	}
	args = append(append([]string{"upgrade", "--install", Name, r.Chart()}, r.Values()...), args...)
	if _, err := r.Helm(ctx, args...); err != nil {
		return err
	}
	return r.WaitEnforcing(ctx)
}

// Uninstall removes the release and the agents' rules.
func (r *Release) Uninstall(ctx context.Context, args ...string) error {
	_, err := r.Helm(ctx, append([]string{"uninstall", Name, "--wait", "--timeout", "3m"}, args...)...)
	return err
}

// Helm runs helm with the administrator's rights in the release's namespace, and without this machine's
// configuration. An error contains helm's standard error.
func (r *Release) Helm(ctx context.Context, args ...string) (string, error) {
	return r.HelmInput(ctx, strings.NewReader(""), args...)
}

// HelmInput is Helm with standard input.
func (r *Release) HelmInput(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
	home, err := os.MkdirTemp("", "netpol-agent-helm")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(home) }()
	cmd, err := r.cluster.ShellCommand(ctx, append([]string{r.helm(), "--namespace", Namespace}, args...)...)
	if err != nil {
		return "", err
	}
	cmd.Stdin = stdin
	cmd.Env = append(cmd.Env, "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home)
	out, err := cmd.Output()
	return string(out), err
}
