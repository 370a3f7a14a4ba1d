package parts

// Names of the parts.
const (
	Kubernetes = "kubernetes"
	Etcd       = "etcd"
	Containerd = "containerd"
	CNIPlugins = "cni-plugins"
	FlannelCNI = "flannel-cni"
	Flanneld   = "flanneld"
	Agnhost    = "agnhost"
	E2ETest    = "e2e-test"
	Cyclonus   = "cyclonus"
)

// Catalog lists the parts of a cluster, the quick ones first.
func Catalog() []Part {
	return []Part{
		{
			Name:   CNIPlugins,
			Module: "github.com/containernetworking/plugins",
			Programs: []Program{
				{"github.com/containernetworking/plugins/plugins/main/bridge", "bridge"},
				{"github.com/containernetworking/plugins/plugins/main/loopback", "loopback"},
				{"github.com/containernetworking/plugins/plugins/ipam/host-local", "host-local"},
				{"github.com/containernetworking/plugins/plugins/meta/portmap", "portmap"},
			},
		},
		{
			Name:   FlannelCNI,
			Module: "github.com/containernetworking/plugins",
			Programs: []Program{
				{"github.com/containernetworking/plugins/plugins/meta/flannel", "flannel"},
			},
		},
		{
			Name:     Etcd,
			Module:   "go.etcd.io/etcd/server/v3",
			Programs: []Program{{"go.etcd.io/etcd/server/v3", "etcd"}},
		},
		{
			Name:        Flanneld,
			Module:      "github.com/flannel-io/flannel",
			Programs:    []Program{{"github.com/flannel-io/flannel", "flanneld"}},
			VersionVars: []string{"github.com/flannel-io/flannel/pkg/version.Version"},
			// The UDP back end is the one piece that needs a C compiler.
			Replace: map[string]string{
				"pkg/backend/udp/udp_amd64.go":         "noudp/noudp.go",
				"pkg/backend/udp/udp_network_amd64.go": "",
				"pkg/backend/udp/cproxy_amd64.go":      "",
			},
		},
		{
			Name:   Containerd,
			Module: "github.com/containerd/containerd/v2",
			Programs: []Program{
				{"github.com/containerd/containerd/v2/cmd/containerd", "containerd"},
				{"github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2", "containerd-shim-runc-v2"},
				{"github.com/containerd/containerd/v2/cmd/ctr", "ctr"},
			},
			Tags:        []string{"no_btrfs"},
			VersionVars: []string{"github.com/containerd/containerd/v2/version.Version"},
		},
		{
			Name:   Kubernetes,
			Module: "k8s.io/kubernetes",
			Programs: []Program{
				{"k8s.io/kubernetes/cmd/kube-apiserver", "kube-apiserver"},
				{"k8s.io/kubernetes/cmd/kube-controller-manager", "kube-controller-manager"},
				{"k8s.io/kubernetes/cmd/kube-scheduler", "kube-scheduler"},
				{"k8s.io/kubernetes/cmd/kubelet", "kubelet"},
				{"k8s.io/kubernetes/cmd/kube-proxy", "kube-proxy"},
				{"k8s.io/kubernetes/cmd/kubectl", "kubectl"},
			},
			VersionVars: kubernetesVersion(),
		},
	}
}

// Optional lists the parts that a test suite on a cluster needs, but the cluster itself does not.
func Optional() []Part {
	return []Part{
		{
			Name:   Agnhost,
			Module: "k8s.io/kubernetes",
			Programs: []Program{
				{"k8s.io/kubernetes/test/images/agnhost", "agnhost"},
				{"github.com/netpol-agent/netpol-agent/test/e2e/parts/agnhost/quick", "agnhost-quick"},
			},
			Sources:     []string{"quick/main.go"},
			VersionVars: kubernetesVersion(),
		},
		{
			Name:   E2ETest,
			Module: "k8s.io/kubernetes",
			Tests:  []Program{{"k8s.io/kubernetes/test/e2e", "e2e.test"}},
			// Ginkgo runs the specs in parallel. It must be the release that e2e.test is written with.
			Programs:    []Program{{"github.com/onsi/ginkgo/v2/ginkgo", "ginkgo"}},
			VersionVars: kubernetesVersion(),
		},
		{
			Name:   Cyclonus,
			Module: "github.com/mattfenwick/cyclonus",
			Programs: []Program{
				{"github.com/mattfenwick/cyclonus/cmd/cyclonus", "cyclonus"},
				{"github.com/mattfenwick/cyclonus/cmd/worker", "cyclonus-worker"},
				{"github.com/netpol-agent/netpol-agent/test/e2e/parts/cyclonus/batch", "cyclonus-batch"},
			},
			Sources: []string{"batch/main.go"},
		},
	}
}

// kubernetesVersion lists the variables that tell the programs of a Kubernetes release its version.
func kubernetesVersion() []string {
	return []string{
		"k8s.io/component-base/version.gitVersion",
		"k8s.io/client-go/pkg/version.gitVersion",
	}
}
