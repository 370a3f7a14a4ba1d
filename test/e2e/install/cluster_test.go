//go:build e2e

package install

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/netpol-agent/netpol-agent/test/e2e/lab"
	"github.com/netpol-agent/netpol-agent/test/e2e/lab/progress"
)

// cluster is the lab with the image in every node's containerd.
type cluster struct {
	*lab.Cluster
	repo string
	// repository and tag are the image's.
	repository, tag string
	// host and port are the API server's. The lab's nodes have no default route, hence none to Services.
	host, port string
}

// start gives a cluster, and ends it after the test if it was not up before.
func start(t *testing.T) *cluster {
	t.Helper()
	dirs, err := lab.DefaultDirs()
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{repo: dirs.Repo}
	archive := filepath.Join(dirs.Repo, "bin", "netpol-agent-image.tar")
	c.repository, c.tag = imageName(t, archive)
	_, err = lab.Load(dirs.State)
	wasUp := err == nil
	if c.Cluster, err = lab.Up(t.Context(), dirs, lab.DefaultOptions(), progress.New(os.Stderr)); err != nil {
		t.Fatal(err)
	}
	if !wasUp && os.Getenv("KEEP") == "" {
		t.Cleanup(func() {
			if err := lab.Down(context.WithoutCancel(t.Context()), dirs, progress.New(os.Stderr)); err != nil {
				t.Error(err)
			}
		})
	}
	config, err := c.RESTConfig()
	if err != nil {
		t.Fatal(err)
	}
	if c.host, c.port, err = net.SplitHostPort(strings.TrimPrefix(config.Host, "https://")); err != nil {
		t.Fatal(err)
	}
	for _, n := range c.Nodes {
		if out, err := c.NodeExec(t.Context(), n.Name, "ctr", "--namespace", "k8s.io", "images", "import", archive); err != nil {
			t.Fatalf("import into %s: %v\n%s", n.Name, err, out)
		}
	}
	return c
}

// imageName reads the name under which containerd will know the image.
func imageName(t *testing.T, archive string) (repository, tag string) {
	t.Helper()
	f, err := os.Open(archive)
	if err != nil {
		t.Fatalf("%v: run \"make image\"", err)
	}
	defer f.Close()
	for r := tar.NewReader(f); ; {
		hdr, err := r.Next()
		if err != nil {
			t.Fatalf("%s: no index.json: %v", archive, err)
		}
		if hdr.Name != "index.json" {
			continue
		}
		var index struct {
			Manifests []struct{ Annotations map[string]string }
		}
		if err := json.NewDecoder(r).Decode(&index); err != nil {
			t.Fatal(err)
		}
		name := index.Manifests[0].Annotations["io.containerd.image.name"]
		i := strings.LastIndex(name, ":")
		return name[:i], name[i+1:]
	}
}

// kubectl runs kubectl and fails the test if it fails.
func (c *cluster) kubectl(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	out, err := c.try(t, stdin, args...)
	if err != nil {
		t.Fatalf("kubectl %s: %v", strings.Join(args, " "), err)
	}
	return out
}

func (c *cluster) try(t *testing.T, stdin string, args ...string) (string, error) {
	t.Helper()
	cmd, err := c.KubectlCommand(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.Output()
	return string(out), err
}

// helm runs bin/helm in the control plane's network.
func (c *cluster) helm(t *testing.T, args ...string) string {
	t.Helper()
	out, err := c.tryHelm(t, args...)
	if err != nil {
		t.Fatalf("helm %s: %v", strings.Join(args, " "), err)
	}
	return out
}

func (c *cluster) tryHelm(t *testing.T, args ...string) (string, error) {
	t.Helper()
	args = append([]string{filepath.Join(c.repo, "bin", "helm"), "--namespace", namespace}, args...)
	cmd, err := c.ShellCommand(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	cmd.Env = append(cmd.Env, "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home)
	out, err := cmd.Output()
	return string(out), err
}

// chart gives the arguments that name the chart and the image under test.
func (c *cluster) chart(more ...string) []string {
	return append([]string{
		filepath.Join(c.repo, "charts", "netpol-agent"), "--set", "image.pullPolicy=Never",
		"--set-string", "image.repository=" + c.repository, "--set-string", "image.tag=" + c.tag,
		"--set-string", "apiServer.host=" + c.host, "--set", "apiServer.port=" + c.port,
	}, more...)
}

// tables gives the agent's tables on a node, as nft lists them.
func (c *cluster) tables(t *testing.T, node string) string {
	t.Helper()
	out, err := c.NodeExec(t.Context(), node, "nft", "list", "tables")
	if err != nil {
		t.Fatal(err)
	}
	var own []string
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "netpol-agent") {
			own = append(own, strings.TrimSpace(line))
		}
	}
	return strings.Join(own, ", ")
}

// eventually waits until f gives nil.
func eventually(t *testing.T, what string, f func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		if err = f(); err == nil {
			return
		}
		if t.Context().Err() != nil {
			break
		}
	}
	t.Fatalf("%s: %v", what, err)
}

var errNotYet = errors.New("not yet")

func notYet(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errNotYet, fmt.Sprintf(format, args...))
}
