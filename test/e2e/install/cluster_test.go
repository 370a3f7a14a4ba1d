//go:build e2e

package install

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/netpol-agent/netpol-agent/test/e2e/deploy"
	"github.com/netpol-agent/netpol-agent/test/e2e/lab"
	"github.com/netpol-agent/netpol-agent/test/e2e/lab/progress"
)

// cluster is the lab and the release to install in it.
type cluster struct {
	*lab.Cluster
	*deploy.Release
	repo string
}

// start returns a cluster without the agent. If it was not up before, it is stopped after the test.
func start(t *testing.T) *cluster {
	t.Helper()
	dirs, err := lab.DefaultDirs()
	if err != nil {
		t.Fatal(err)
	}
	_, err = lab.Load(dirs.State)
	wasUp := err == nil
	c := &cluster{repo: dirs.Repo}
	if c.Cluster, c.Release, err = deploy.Up(t.Context(), dirs, lab.DefaultOptions(), progress.New(os.Stderr)); err != nil {
		t.Fatal(err)
	}
	if !wasUp && os.Getenv("KEEP") == "" {
		t.Cleanup(func() {
			if err := lab.Down(context.WithoutCancel(t.Context()), dirs, progress.New(os.Stderr)); err != nil {
				t.Error(err)
			}
		})
	}
	if c.helm(t, "list", "--short") != "" {
		if err := c.Uninstall(t.Context()); err != nil {
			t.Fatalf("uninstall the release that was there before: %v", err)
		}
	}
	c.kubectl(t, "", "delete", "namespace", "install-test", "--ignore-not-found")
	c.kubectl(t, "", "delete", "networkpolicy", "--all", "--all-namespaces")
	return c
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

// helm runs helm and fails the test if it fails.
func (c *cluster) helm(t *testing.T, args ...string) string {
	t.Helper()
	out, err := c.Helm(t.Context(), args...)
	if err != nil {
		t.Fatalf("helm %s: %v", strings.Join(args, " "), err)
	}
	return out
}

// tables returns the agent's tables on a node, and others whose names begin like them.
func (c *cluster) tables(t *testing.T, node string) string {
	t.Helper()
	own, err := c.Tables(t.Context(), node)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(own, ", ")
}

// onNode runs a command on a node and fails the test if it fails.
func (c *cluster) onNode(t *testing.T, node string, argv ...string) string {
	t.Helper()
	out, err := c.NodeExec(t.Context(), node, argv...)
	if err != nil {
		t.Fatalf("%s: %s: %v", node, strings.Join(argv, " "), err)
	}
	return string(out)
}

// eventually waits until f returns nil.
func eventually(t *testing.T, what string, f func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
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
