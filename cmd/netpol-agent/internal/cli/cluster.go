package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// fromCluster reads the objects that explain needs from a cluster's API server, once.
func fromCluster(ctx context.Context, kubeconfig, kubeContext string, timeout time.Duration) (*objects, error) {
	config, err := clusterConfig(kubeconfig, kubeContext)
	if errors.Is(err, errNoCluster) {
		return nil, fmt.Errorf("%w, or give files with -f", err)
	}
	if err != nil {
		return nil, err
	}
	config.Timeout = timeout
	c, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("cluster %s: %w", config.Host, err)
	}
	o, err := list(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("cluster %s: %w", config.Host, err)
	}
	return o, nil
}

// list returns all objects of the cluster that matter to policies.
func list(ctx context.Context, c kubernetes.Interface) (*objects, error) {
	all := metav1.ListOptions{}
	pods, err := c.CoreV1().Pods(metav1.NamespaceAll).List(ctx, all)
	if err != nil {
		return nil, fmt.Errorf("list pods: %w", err)
	}
	namespaces, err := c.CoreV1().Namespaces().List(ctx, all)
	if err != nil {
		return nil, fmt.Errorf("list namespaces: %w", err)
	}
	nodes, err := c.CoreV1().Nodes().List(ctx, all)
	if err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	policies, err := c.NetworkingV1().NetworkPolicies(metav1.NamespaceAll).List(ctx, all)
	if err != nil {
		return nil, fmt.Errorf("list networkpolicies: %w", err)
	}
	return &objects{
		pods: pointers(pods.Items), namespaces: pointers(namespaces.Items),
		nodes: pointers(nodes.Items), policies: pointers(policies.Items),
	}, nil
}

var errNoCluster = errors.New("no cluster to ask: name one with --kubeconfig or $KUBECONFIG")

// clusterConfig finds a cluster as kubectl does: by the flags, by $KUBECONFIG, in the home directory, or, inside a
// pod, by its service account.
func clusterConfig(kubeconfig, kubeContext string) (*rest.Config, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = kubeconfig
	overrides := &clientcmd.ConfigOverrides{CurrentContext: kubeContext}
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides).ClientConfig()
	if clientcmd.IsEmptyConfig(err) {
		return nil, errNoCluster
	}
	if err != nil && kubeconfig != "" {
		err = fmt.Errorf("kubeconfig %s: %w", kubeconfig, err)
	}
	return config, err
}

func pointers[T any](items []T) []*T {
	out := make([]*T, len(items))
	for i := range items {
		out[i] = &items[i]
	}
	return out
}
