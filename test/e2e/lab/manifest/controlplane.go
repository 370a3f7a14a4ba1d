package manifest

import (
	"fmt"
	"path/filepath"
)

// ControlPlaneName is the name of the machine that runs the control plane.
const ControlPlaneName = "cp"

// Etcd is the cluster's store. It need not survive the machine, so it does not wait for the disk.
func (c Cluster) Etcd() Process {
	client := fmt.Sprintf("http://127.0.0.1:%d", EtcdPort)
	return Process{Name: "etcd", Argv: []string{
		c.Bin["etcd"],
		"--data-dir=" + filepath.Join(c.StateDir, ControlPlaneName, "etcd"),
		"--unsafe-no-fsync",
		"--listen-client-urls=" + client,
		"--advertise-client-urls=" + client,
		"--listen-peer-urls=http://127.0.0.1:2380",
		"--log-level=warn",
	}}
}

// APIServer is the API server, with RBAC and the administrator's static token.
func (c Cluster) APIServer() Process {
	return Process{Name: "kube-apiserver", Argv: []string{
		c.Bin["kube-apiserver"],
		"--etcd-servers=" + fmt.Sprintf("http://127.0.0.1:%d", EtcdPort),
		"--advertise-address=" + c.ControlPlane.String(),
		fmt.Sprintf("--secure-port=%d", apiPort),
		"--tls-cert-file=" + c.etc(ControlPlaneName, "apiserver.crt"),
		"--tls-private-key-file=" + c.etc(ControlPlaneName, "apiserver.key"),
		"--token-auth-file=" + c.etc(ControlPlaneName, "tokens.csv"),
		"--authorization-mode=RBAC",
		"--service-cluster-ip-range=" + list(c.ServiceCIDRs),
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + c.etc(ControlPlaneName, "service-accounts.key"),
		"--service-account-signing-key-file=" + c.etc(ControlPlaneName, "service-accounts.key"),
		"--kubelet-preferred-address-types=InternalIP",
		"--allow-privileged=true",
		"--profiling=false",
	}}
}

// ControllerManager gives nodes their pod ranges, besides everything else it does.
func (c Cluster) ControllerManager() Process {
	return Process{Name: "kube-controller-manager", Argv: []string{
		c.Bin["kube-controller-manager"],
		"--kubeconfig=" + c.Kubeconfig(),
		"--bind-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", ControllerManagerPort),
		"--leader-elect=false",
		"--allocate-node-cidrs",
		"--cluster-cidr=" + list(c.PodCIDRs),
		"--service-cluster-ip-range=" + list(c.ServiceCIDRs),
		"--service-account-private-key-file=" + c.etc(ControlPlaneName, "service-accounts.key"),
		"--root-ca-file=" + c.etc(ControlPlaneName, "ca.crt"),
		"--use-service-account-credentials",
		// A lab's nodes come and go within seconds.
		"--node-monitor-period=1s",
		"--profiling=false",
	}}
}

// Scheduler places the pods.
func (c Cluster) Scheduler() Process {
	return Process{Name: "kube-scheduler", Argv: []string{
		c.Bin["kube-scheduler"],
		"--kubeconfig=" + c.Kubeconfig(),
		"--bind-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", SchedulerPort),
		"--leader-elect=false",
		"--profiling=false",
	}}
}

// ControlPlaneFiles returns the files that these processes read, including the administrator's kubeconfig.
func (c Cluster) ControlPlaneFiles() ([]File, error) {
	kubeconfig, err := c.kubeconfig()
	if err != nil {
		return nil, err
	}
	at := func(name string) string { return c.etc(ControlPlaneName, name) }
	return []File{
		{Path: at("ca.crt"), Data: c.Credentials.CA},
		{Path: at("apiserver.crt"), Data: c.Credentials.Cert},
		{Path: at("apiserver.key"), Data: c.Credentials.Key, Secret: true},
		{Path: at("service-accounts.key"), Data: c.Credentials.ServiceAccountKey, Secret: true},
		{Path: at("tokens.csv"), Data: []byte(c.Credentials.Token + ",admin,admin,system:masters\n"), Secret: true},
		{Path: c.Kubeconfig(), Data: kubeconfig, Secret: true},
	}, nil
}
