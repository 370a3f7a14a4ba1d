// Package manifest describes a cluster of the lab: the command line and the configuration files of each of its
// processes, as values. It runs nothing and writes nothing.
package manifest

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
)

// Ports and addresses that are the same in every lab: they exist only inside its namespaces.
const (
	apiPort = 6443
	// ProxyHealthPort is where kube-proxy reports its health, on the loopback of its node.
	ProxyHealthPort = 10256
	// KubeletHealthPort is where the kubelet reports its health, on the loopback of its node.
	KubeletHealthPort = 10248
	// EtcdPort is where etcd listens, on the loopback of the control plane.
	EtcdPort = 2379
	// SchedulerPort and ControllerManagerPort are where these two report their health over TLS, on the loopback of
	// the control plane.
	SchedulerPort         = 10259
	ControllerManagerPort = 10257
)

// SandboxImage is the image of pods' first process.
const SandboxImage = "netpol-lab.local/pause:1"

// ProbeImage is the image that pods of the lab run: a server that probes others.
const ProbeImage = "netpol-lab.local/probe:1"

// SubnetFile is where flanneld leaves what its CNI plugin needs, on each node.
const SubnetFile = "/run/flannel/subnet.env"

// Cluster is what all of a cluster's processes share.
type Cluster struct {
	// StateDir is the lab's folder.
	StateDir string
	// ControlPlane is the address at which the API server is reached, of the cluster's first family.
	ControlPlane netip.Addr
	// Interface is the nodes' interface on the lab's network.
	Interface string
	// PodCIDRs and ServiceCIDRs are the ranges of pods and services, one of each IP family that the cluster has.
	// The first is of the family that a service has if it asks for none.
	PodCIDRs, ServiceCIDRs []netip.Prefix
	// ProxyMode is kube-proxy's: iptables or nftables.
	ProxyMode string
	// FlannelBackend is vxlan or host-gw.
	FlannelBackend string
	// Bin maps the name of a program to its path.
	Bin map[string]string
	// CNIBin are the folders of the CNI plugins.
	CNIBin []string
	// Credentials open the API server.
	Credentials Credentials
}

// Node is what the processes of a node need in addition.
type Node struct {
	// Name is the node's name and the machine's.
	Name string
	// Addresses are its addresses on the lab's network, one of each family, in the order of the cluster's ranges.
	Addresses []netip.Addr
}

// Process is a process of a cluster: what to run on which machine.
type Process struct {
	Name string
	Argv []string
	Env  []string
}

// File is a configuration file.
type File struct {
	// Path is absolute.
	Path string
	Data []byte
	// Secret files are readable by root only.
	Secret bool
}

// Server returns the URL of the API server.
func (c Cluster) Server() string {
	return fmt.Sprintf("https://%s", netip.AddrPortFrom(c.ControlPlane, apiPort))
}

// list returns values in the form in which command lines take several of them.
func list[T fmt.Stringer](values []T) string {
	var all []string
	for _, v := range values {
		all = append(all, v.String())
	}
	return strings.Join(all, ",")
}

// Kubeconfig returns the path of the administrator's kubeconfig file.
func (c Cluster) Kubeconfig() string { return filepath.Join(c.StateDir, "kubeconfig") }

// etc returns the path of a configuration file of a machine.
func (c Cluster) etc(machine, file string) string {
	return filepath.Join(c.StateDir, machine, "etc", file)
}
