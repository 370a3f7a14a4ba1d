package lab

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/netpol-agent/netpol-agent/test/e2e/lab/machine"
	"github.com/netpol-agent/netpol-agent/test/e2e/lab/manifest"
)

// httpReady requests a health URL from inside a machine.
func httpReady(m machine.Machine, url string) func(context.Context) error {
	client := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return dialFrom(ctx, m, network, addr)
		},
		// These health ports use certificates they make themselves, on the loopback of one of our machines.
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
		DisableKeepAlives: true,
	}}
	return func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		res, err := client.Do(req)
		if err != nil {
			return err
		}
		defer func() { _ = res.Body.Close() }()
		body, err := io.ReadAll(io.LimitReader(res.Body, 1<<10))
		if err != nil {
			return err
		}
		if res.StatusCode != http.StatusOK {
			return fmt.Errorf("%s answers %s: %s", url, res.Status, strings.TrimSpace(string(body)))
		}
		return nil
	}
}

// socketReady connects to a unix socket of a machine.
func socketReady(m machine.Machine, path string) func(context.Context) error {
	return func(ctx context.Context) error {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(m.Root(), path))
		if err != nil {
			return err
		}
		return conn.Close()
	}
}

// apiReady asks the API server whether it serves.
func apiReady(api kubernetes.Interface) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := api.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
		return err
	}
}

// serviceAccountReady waits for the account without which no pod can be created. It shows that the controller
// manager works.
func serviceAccountReady(api kubernetes.Interface) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := api.CoreV1().ServiceAccounts(metav1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{})
		return err
	}
}

// nodeReady waits until the node is registered, ready and open for pods.
func nodeReady(api kubernetes.Interface, n Node) func(context.Context) error {
	return func(ctx context.Context) error {
		node, err := api.CoreV1().Nodes().Get(ctx, n.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if err := nodeAddressed(node, n.Addresses); err != nil {
			return err
		}
		return nodeOpen(node)
	}
}

// nodeAddressed returns an error unless the node has all of its addresses, in their order.
func nodeAddressed(node *corev1.Node, want []netip.Addr) error {
	var got []string
	for _, a := range node.Status.Addresses {
		if a.Type == corev1.NodeInternalIP {
			got = append(got, a.Address)
		}
	}
	for i, a := range want {
		if i >= len(got) || got[i] != a.String() {
			return fmt.Errorf("node %s has the addresses %q, want %s", node.Name, got, want)
		}
	}
	return nil
}

func nodeOpen(node *corev1.Node) error {
	for _, t := range node.Spec.Taints {
		return fmt.Errorf("node %s is tainted %s", node.Name, t.ToString())
	}
	for _, c := range node.Status.Conditions {
		if c.Type != corev1.NodeReady {
			continue
		}
		if c.Status == corev1.ConditionTrue {
			return nil
		}
		return fmt.Errorf("node %s is not ready: %s", node.Name, c.Message)
	}
	return fmt.Errorf("node %s has not reported yet", node.Name)
}

// rangeReady waits until the node has its ranges of pod addresses, one of each family.
func rangeReady(api kubernetes.Interface, n Node) func(context.Context) error {
	return func(ctx context.Context) error {
		node, err := api.CoreV1().Nodes().Get(ctx, n.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if got := node.Spec.PodCIDRs; len(got) != len(n.Addresses) {
			return fmt.Errorf("node %s has the pod ranges %q, want %d", n.Name, got, len(n.Addresses))
		}
		return nil
	}
}

// subnetReady waits for the file that Flannel's CNI plugin reads: from then on pods get addresses.
func subnetReady(m machine.Machine) func(context.Context) error {
	return func(context.Context) error {
		info, err := os.Stat(filepath.Join(m.Root(), manifest.SubnetFile))
		if err != nil {
			return err
		}
		if info.Size() == 0 {
			return errors.New(manifest.SubnetFile + " is empty")
		}
		return nil
	}
}
