package manifest

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"
)

// cluster returns a cluster of an IP family, and a node of it.
func cluster(t *testing.T, family string) (Cluster, Node) {
	t.Helper()
	c := Cluster{
		StateDir:       "/state",
		Interface:      "eth0",
		ProxyMode:      "nftables",
		FlannelBackend: "host-gw",
		Bin:            map[string]string{"runc": "/usr/sbin/runc", "kubelet": "/bin/kubelet"},
		CNIBin:         []string{"/cni/a", "/cni/b"},
	}
	n := Node{Name: "node1"}
	var server []netip.Addr
	add := func(cp, node, pods, services string) {
		server = append(server, netip.MustParseAddr(cp))
		n.Addresses = append(n.Addresses, netip.MustParseAddr(node))
		c.PodCIDRs = append(c.PodCIDRs, netip.MustParsePrefix(pods))
		c.ServiceCIDRs = append(c.ServiceCIDRs, netip.MustParsePrefix(services))
	}
	if family != "ipv6" {
		add("172.30.0.1", "172.30.0.2", "10.244.0.0/16", "10.96.0.0/16")
	}
	if family != "ipv4" {
		add("fd00::1", "fd00::2", "fd10::/56", "fd20::/112")
	}
	c.ControlPlane = server[0]
	var err error
	if c.Credentials, err = NewCredentials(time.Now(), server...); err != nil {
		t.Fatal(err)
	}
	return c, n
}

func TestProcessesOfEveryFamily(t *testing.T) {
	for family, want := range map[string]struct{ node, pods, services, server string }{
		"ipv4": {"172.30.0.2", "10.244.0.0/16", "10.96.0.0/16", "172.30.0.1"},
		"ipv6": {"fd00::2", "fd10::/56", "fd20::/112", "fd00::1"},
		"dual": {"172.30.0.2,fd00::2", "10.244.0.0/16,fd10::/56", "10.96.0.0/16,fd20::/112", "172.30.0.1"},
	} {
		c, n := cluster(t, family)
		for _, p := range []struct {
			process Process
			args    []string
		}{
			{c.APIServer(), []string{"--service-cluster-ip-range=" + want.services, "--advertise-address=" + want.server}},
			{c.ControllerManager(), []string{"--service-cluster-ip-range=" + want.services, "--cluster-cidr=" + want.pods}},
			{c.Kubelet(n), []string{"--node-ip=" + want.node}},
			{c.Flannel(n), []string{"--iface=eth0"}},
		} {
			for _, arg := range p.args {
				if !slices.Contains(p.process.Argv, arg) {
					t.Errorf("%s: %s lacks %s: %q", family, p.process.Name, arg, p.process.Argv)
				}
			}
		}
	}
}

func TestFlannelConfigurationOfEveryFamily(t *testing.T) {
	for family, want := range map[string]string{
		"ipv4": `{"EnableIPv4":true,"Network":"10.244.0.0/16","EnableIPv6":false,`,
		"ipv6": `{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd10::/56",`,
		"dual": `{"EnableIPv4":true,"Network":"10.244.0.0/16","EnableIPv6":true,"IPv6Network":"fd10::/56",`,
	} {
		c, _ := cluster(t, family)
		data, err := c.flannelConfig()
		if err != nil {
			t.Fatal(err)
		}
		want += `"EnableNFTables":false,"Backend":{"Type":"host-gw"}}`
		var got bytes.Buffer
		if err := json.Compact(&got, data); err != nil || got.String() != want {
			t.Errorf("%s: %s, %v, want %s", family, &got, err, want)
		}
	}
}

func TestNodeFilesAreWellFormed(t *testing.T) {
	c, n := cluster(t, "dual")
	files, err := c.NodeFiles(n)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{
		"containerd.toml":     {`bin_dirs = ["/cni/a", "/cni/b"]`, SandboxImage, "/usr/sbin/runc"},
		"kubelet.yaml":        {"resolvConf: /state/node1/etc/resolv.conf"},
		"kube-proxy.yaml":     {"mode: nftables", "/state/kubeconfig", "clusterCIDR: 10.244.0.0/16,fd10::/56"},
		"net-conf.json":       {`"host-gw"`, "10.244.0.0/16", "fd10::/56"},
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
			t.Errorf("%s contains a missing value", name)
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
	for family, want := range map[string]string{
		"ipv4": "https://172.30.0.1:6443", "ipv6": "https://[fd00::1]:6443", "dual": "https://172.30.0.1:6443",
	} {
		c, _ := cluster(t, family)
		files, err := c.ControlPlaneFiles()
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(files, func(f File) bool { return f.Path == c.Kubeconfig() })
		if i < 0 || !files[i].Secret {
			t.Fatal("no kubeconfig among the files is for root only")
		}
		cfg, err := clientcmd.RESTConfigFromKubeConfig(files[i].Data)
		if err != nil || cfg.Host != want || cfg.BearerToken != c.Credentials.Token {
			t.Errorf("%s: kubeconfig opens %+v, %v", family, cfg, err)
		}
	}
}

func TestServerCertificateIsTrusted(t *testing.T) {
	dual, _ := cluster(t, "dual")
	c := dual.Credentials
	pair, err := tls.X509KeyPair(c.Cert, c.Key)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(c.CA) {
		t.Fatal("the authority's certificate cannot be read")
	}
	for name, ok := range map[string]bool{"172.30.0.1": true, "kubernetes.default.svc": true, "fd00::1": true, "172.30.0.9": false} {
		_, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name})
		if (err == nil) != ok {
			t.Errorf("%s: %v, want trusted %t", name, err, ok)
		}
	}
}
