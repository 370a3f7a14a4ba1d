package manifest

import (
	"fmt"

	"k8s.io/client-go/tools/clientcmd"
	clientapi "k8s.io/client-go/tools/clientcmd/api"
)

// kubeconfig returns the administrator's kubeconfig. The server's address exists in the lab's namespaces only.
func (c Cluster) kubeconfig() ([]byte, error) {
	const name = "netpol-lab"
	cfg := clientapi.NewConfig()
	cfg.Clusters[name] = &clientapi.Cluster{Server: c.Server(), CertificateAuthorityData: c.Credentials.CA}
	cfg.AuthInfos["admin"] = &clientapi.AuthInfo{Token: c.Credentials.Token}
	cfg.Contexts[name] = &clientapi.Context{Cluster: name, AuthInfo: "admin"}
	cfg.CurrentContext = name
	data, err := clientcmd.Write(*cfg)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	return data, nil
}
