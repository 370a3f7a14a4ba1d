// Package check has pods on all nodes of a lab talk to each other, over TCP and UDP, directly and through a
// Service, and fails if one of them does not get through. It shows that the cluster's network works when no
// policy is in force; what policies forbid is for others to see.
package check

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/netpol-agent/netpol-agent/test/e2e/lab"
	"github.com/netpol-agent/netpol-agent/test/e2e/lab/progress"
	"github.com/netpol-agent/netpol-agent/test/e2e/probe"
)

// namespace is where the check has its pods; it is removed at the end.
const namespace = "netpol-lab-check"

// timeout bounds each of the check's waits.
const timeout = time.Minute

// Run makes a pod on each node and a Service in front of all of them, and probes every pair.
func Run(ctx context.Context, c *lab.Cluster, p *progress.Printer) error {
	cfg, err := c.RESTConfig()
	if err != nil {
		return err
	}
	api, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return err
	}
	r := run{cluster: c, api: api}
	defer r.remove(context.WithoutCancel(ctx))
	pods, service, err := r.create(ctx)
	if err != nil {
		return err
	}
	p.Step("%d pods run", len(pods))
	if err := r.probe(ctx, pods, service); err != nil {
		return err
	}
	p.Step("every pod reaches every other, over TCP and UDP, directly and through the Service %s", service)
	return nil
}

type run struct {
	cluster *lab.Cluster
	api     kubernetes.Interface
}

func (r run) remove(ctx context.Context) {
	now := int64(0)
	_ = r.api.CoreV1().Namespaces().Delete(ctx, namespace, metav1.DeleteOptions{GracePeriodSeconds: &now})
}

// create makes the objects and returns the running pods and the Service's address.
func (r run) create(ctx context.Context) ([]corev1.Pod, string, error) {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	if _, err := r.api.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{}); err != nil {
		return nil, "", err
	}
	err := poll(ctx, "the namespace's service account", func(ctx context.Context) error {
		_, err := r.api.CoreV1().ServiceAccounts(namespace).Get(ctx, "default", metav1.GetOptions{})
		return err
	})
	if err != nil {
		return nil, "", err
	}
	for _, n := range r.cluster.Nodes {
		if _, err := r.api.CoreV1().Pods(namespace).Create(ctx, pod(n.Name), metav1.CreateOptions{}); err != nil {
			return nil, "", err
		}
	}
	svc, err := r.api.CoreV1().Services(namespace).Create(ctx, service(), metav1.CreateOptions{})
	if err != nil {
		return nil, "", err
	}
	var pods *corev1.PodList
	err = poll(ctx, "the pods", func(ctx context.Context) (err error) {
		if pods, err = r.api.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{}); err != nil {
			return err
		}
		for _, p := range pods.Items {
			if p.Status.Phase != corev1.PodRunning || p.Status.PodIP == "" {
				return fmt.Errorf("pod %s is %s", p.Name, p.Status.Phase)
			}
		}
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	return pods.Items, svc.Spec.ClusterIP, nil
}

const (
	port = 80
	name = "probe"
)

func pod(node string) *corev1.Pod {
	grace := int64(0)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name + "-" + node, Labels: map[string]string{"app": name}},
		Spec: corev1.PodSpec{
			NodeName:                      node,
			TerminationGracePeriodSeconds: &grace,
			// The cluster has no DNS.
			DNSPolicy: corev1.DNSDefault,
			Containers: []corev1.Container{{
				Name:  name,
				Image: lab.ProbeImage,
				Args:  []string{"serve", "-tcp", "80", "-udp", "80"},
			}},
		},
	}
}

func service() *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": name},
			Ports: []corev1.ServicePort{
				{Name: "tcp", Port: port, Protocol: corev1.ProtocolTCP},
				{Name: "udp", Port: port, Protocol: corev1.ProtocolUDP},
			},
		},
	}
}

// probe asks each pod, from its own node, to probe all pods and the Service. The Service's rules follow the
// pods after a moment, so it asks again until all is well or the time is over.
func (r run) probe(ctx context.Context, pods []corev1.Pod, service string) error {
	targets := []probe.Target{}
	for _, host := range append(addresses(pods), service) {
		for _, protocol := range []string{probe.TCP, probe.UDP} {
			targets = append(targets, probe.Target{Host: host, Port: port, Protocol: protocol})
		}
	}
	for _, p := range pods {
		client := probe.NewClient(r.cluster.DialContext(p.Spec.NodeName))
		err := poll(ctx, "connections from "+p.Name, func(ctx context.Context) error {
			results, err := client.Ask(ctx, p.Status.PodIP, targets)
			if err != nil {
				return err
			}
			for i, res := range results {
				if !res.Open {
					return fmt.Errorf("to %s %s: %s", targets[i].Protocol, targets[i].Address(), res.Error)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func addresses(pods []corev1.Pod) []string {
	var all []string
	for _, p := range pods {
		all = append(all, p.Status.PodIP)
	}
	return all
}

// poll calls f until it succeeds or the timeout is over.
func poll(ctx context.Context, what string, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for {
		err := f(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
