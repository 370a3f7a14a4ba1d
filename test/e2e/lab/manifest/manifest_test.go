package manifest

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"
)

func cluster(t *testing.T) Cluster {
	t.Helper()
	addr := netip.MustParseAddr("172.30.0.1")
	creds, err := NewCredentials(time.Now(), addr)
	if err != nil {
		t.Fatal(err)
	}
	return Cluster{
		StateDir:       "/state",
		ControlPlane:   addr,
		PodCIDR:        netip.MustParsePrefix("10.244.0.0/16"),
		ServiceCIDR:    netip.MustParsePrefix("10.96.0.0/16"),
		ProxyMode:      "nftables",
		FlannelBackend: "host-gw",
		Bin:            map[string]string{"runc": "/usr/sbin/runc", "kubelet": "/bin/kubelet"},
		CNIBin:         []string{"/cni/a", "/cni/b"},
		Credentials:    creds,
	}
}

func TestNodeFilesAreWellFormed(t *testing.T) {
	c := cluster(t)
	files, err := c.NodeFiles(Node{Name: "node1", Address: netip.MustParseAddr("172.30.0.2")})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{
		"containerd.toml":     {`bin_dirs = ["/cni/a", "/cni/b"]`, SandboxImage, "/usr/sbin/runc"},
		"kubelet.yaml":        {"resolvConf: /state/node1/etc/resolv.conf"},
		"kube-proxy.yaml":     {"mode: nftables", "/state/kubeconfig"},
		"net-conf.json":       {`"host-gw"`, "10.244.0.0/16"},
		"10-flannel.conflist": {`"flannel"`, `"portmap"`},
		"resolv.conf":         nil,
	}
	for _, f := range files {
		name := filepath.Base(f.Path)
		texts, known := want[name]
		if !known || !strings.HasPrefix(f.Path, "/state/node1/etc/") {
			t.Errorf("unexpected file %s", f.Path)
		}
		delete(want, name)
		for _, text := range texts {
			if !strings.Contains(string(f.Data), text) {
				t.Errorf("%s lacks %q", name, text)
			}
		}
		if strings.Contains(string(f.Data), "<no value>") {
			t.Errorf("%s has a value that is not there", name)
		}
		var v any
		var err error
		switch filepath.Ext(name) {
		case ".json", ".conflist":
			err = json.Unmarshal(f.Data, &v)
		case ".yaml":
			err = yaml.UnmarshalStrict(f.Data, &v)
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name := range want {
		t.Errorf("no file %s", name)
	}
}

func TestKubeconfigOpensTheServer(t *testing.T) {
	c := cluster(t)
	files, err := c.ControlPlaneFiles()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if f.Path != c.Kubeconfig() {
			continue
		}
		if !f.Secret {
			t.Error("the kubeconfig is for everybody to read")
		}
		cfg, err := clientcmd.RESTConfigFromKubeConfig(f.Data)
		if err != nil || cfg.Host != "https://172.30.0.1:6443" || cfg.BearerToken != c.Credentials.Token {
			t.Errorf("kubeconfig opens %+v, %v", cfg, err)
		}
		return
	}
	t.Error("no kubeconfig among the files")
}

func TestServerCertificateIsTrusted(t *testing.T) {
	c := cluster(t).Credentials
	pair, err := tls.X509KeyPair(c.Cert, c.Key)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(c.CA) {
		t.Fatal("the authority's certificate cannot be read")
	}
	for name, ok := range map[string]bool{"172.30.0.1": true, "kubernetes.default.svc": true, "172.30.0.9": false} {
		_, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name})
		if (err == nil) != ok {
			t.Errorf("%s: %v, want trusted %t", name, err, ok)
		}
	}
}
