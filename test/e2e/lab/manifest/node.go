package manifest

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"net/netip"
	"path"
	"text/template"
)

//go:embed files/containerd.toml
var containerdConfig string

//go:embed files/kubelet.yaml
var kubeletConfig string

//go:embed files/kube-proxy.yaml
var proxyConfig string

//go:embed files/flannel.conflist
var cniConfig string

// Containerd runs the pods.
func (c Cluster) Containerd(n Node) Process {
	return Process{Name: "containerd", Argv: []string{
		c.Bin["containerd"], "--config", c.etc(n.Name, "containerd.toml"),
	}}
}

// Kubelet registers the node and keeps its pods.
func (c Cluster) Kubelet(n Node) Process {
	return Process{Name: "kubelet", Argv: []string{
		c.Bin["kubelet"],
		"--config=" + c.etc(n.Name, "kubelet.yaml"),
		"--kubeconfig=" + c.Kubeconfig(),
		"--hostname-override=" + n.Name,
		"--node-ip=" + list(n.Addresses),
	}}
}

// Proxy makes the services' addresses work.
func (c Cluster) Proxy(n Node) Process {
	return Process{Name: "kube-proxy", Argv: []string{
		c.Bin["kube-proxy"],
		"--config=" + c.etc(n.Name, "kube-proxy.yaml"),
		"--hostname-override=" + n.Name,
	}}
}

// Flannel connects the nodes' pods.
func (c Cluster) Flannel(n Node) Process {
	return Process{
		Name: "flanneld",
		Argv: []string{
			c.Bin["flanneld"],
			"--kube-subnet-mgr",
			"--kubeconfig-file=" + c.Kubeconfig(),
			// Given a name, flanneld finds the interface's addresses of every family: the node's own, none that is
			// link-local. Given only an IPv6 address, host-gw assumes that it is behind address translation.
			"--iface=" + c.Interface,
			"--net-config-path=" + c.etc(n.Name, "net-conf.json"),
			"--subnet-file=" + SubnetFile,
			"--ip-masq",
		},
		Env: []string{"NODE_NAME=" + n.Name},
	}
}

// flannelConfig returns Flannel's configuration file, which is the same on every node.
func (c Cluster) flannelConfig() ([]byte, error) {
	type backend struct{ Type string }
	cfg := struct {
		EnableIPv4     bool
		Network        netip.Prefix `json:",omitzero"`
		EnableIPv6     bool
		IPv6Network    netip.Prefix `json:",omitzero"`
		EnableNFTables bool
		Backend        backend
	}{Backend: backend{c.FlannelBackend}}
	for _, pods := range c.PodCIDRs {
		if pods.Addr().Is4() {
			cfg.EnableIPv4, cfg.Network = true, pods
		} else {
			cfg.EnableIPv6, cfg.IPv6Network = true, pods
		}
	}
	return json.MarshalIndent(cfg, "", "  ")
}

// NodeFiles returns the files that these processes read.
func (c Cluster) NodeFiles(n Node) ([]File, error) {
	flannel, err := c.flannelConfig()
	if err != nil {
		return nil, fmt.Errorf("configuration of Flannel: %w", err)
	}
	files := []File{{Path: c.etc(n.Name, "net-conf.json"), Data: flannel}}
	for _, f := range []struct{ name, text string }{
		{"containerd.toml", containerdConfig},
		{"kubelet.yaml", kubeletConfig},
		{"kube-proxy.yaml", proxyConfig},
		{"cni/10-flannel.conflist", cniConfig},
		// No name server: nothing outside the lab can be reached, and the cluster runs none.
		{"resolv.conf", ""},
	} {
		data, err := c.render(f.name, f.text, n)
		if err != nil {
			return nil, fmt.Errorf("%s of %s: %w", f.name, n.Name, err)
		}
		files = append(files, File{Path: c.etc(n.Name, f.name), Data: data})
	}
	return files, nil
}

// render fills a configuration file's template with the cluster, the node and the paths it needs.
func (c Cluster) render(name, text string, n Node) ([]byte, error) {
	t, err := template.New(name).Option("missingkey=error").Parse(text)
	if err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	err = t.Execute(&buf, map[string]any{
		"Cluster":     c,
		"PodCIDRs":    list(c.PodCIDRs),
		"Sandbox":     SandboxImage,
		"CNIConf":     path.Dir(c.etc(n.Name, "cni/x")),
		"ResolvConf":  c.etc(n.Name, "resolv.conf"),
		"Runc":        c.Bin["runc"],
		"KubeletPort": KubeletHealthPort,
		"ProxyPort":   ProxyHealthPort,
	})
	return buf.Bytes(), err
}
