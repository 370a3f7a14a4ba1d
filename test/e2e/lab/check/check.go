// Package check has pods on all nodes of a lab talk to each other, inside and across nodes, over TCP and UDP, with
// every IP family of the cluster, directly and through Services, and fails if one of them does not get through. It
// shows that the cluster's network works when no policy is in force. It does not test policies.
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

// timeout bounds each of the check's waits.
const timeout = time.Minute

// Run creates pods on each node and a Service in front of each, and probes every pair.
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
	defer func() { r.remove(context.WithoutCancel(ctx)) }()
	ends, err := r.create(ctx)
	if err != nil {
		return err
	}
	p.Step("%d pods run, with a Service each", len(ends))
	probes := 0
	for _, e := range ends {
		n, err := r.probe(ctx, e, ends)
		if err != nil {
			return err
		}
		probes += n
	}
	p.Step("every pod reaches every other (IP family %s): %d probes over TCP and UDP, inside and across nodes, directly and through Services",
		c.Options.IPFamily, probes)
	return nil
}

// run is a check in progress.
type run struct {
	cluster *lab.Cluster
	api     kubernetes.Interface
	// namespace holds the check's objects. It is removed at the end.
	namespace string
}

func (r run) remove(ctx context.Context) {
	if r.namespace != "" {
		now := int64(0)
		_ = r.api.CoreV1().Namespaces().Delete(ctx, r.namespace, metav1.DeleteOptions{GracePeriodSeconds: &now})
	}
}

// create creates the objects and returns the pods once all of them run.
func (r *run) create(ctx context.Context) ([]end, error) {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "netpol-lab-check-"}}
	ns, err := r.api.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	r.namespace = ns.Name
	err = poll(ctx, "the namespace's service account", func(ctx context.Context) error {
		_, err := r.api.CoreV1().ServiceAccounts(r.namespace).Get(ctx, "default", metav1.GetOptions{})
		return err
	})
	if err != nil {
		return nil, err
	}
	var names []string
	for _, n := range r.cluster.Nodes {
		for i := range podsPerNode {
			name := fmt.Sprintf("%s-%d", n.Name, i)
			names = append(names, name)
			if _, err := r.api.CoreV1().Pods(r.namespace).Create(ctx, pod(name, n.Name), metav1.CreateOptions{}); err != nil {
				return nil, err
			}
			if _, err := r.api.CoreV1().Services(r.namespace).Create(ctx, service(name), metav1.CreateOptions{}); err != nil {
				return nil, err
			}
		}
	}
	return r.await(ctx, names)
}

// await waits until the pods run and have all of their addresses.
func (r run) await(ctx context.Context, names []string) ([]end, error) {
	var ends []end
	for _, name := range names {
		err := poll(ctx, "pod "+name, func(ctx context.Context) error {
			p, err := r.api.CoreV1().Pods(r.namespace).Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			s, err := r.api.CoreV1().Services(r.namespace).Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			e, err := newEnd(p, s, r.cluster.Options)
			if err == nil {
				ends = append(ends, e)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return ends, nil
}

// probe asks a pod, from its own node and at each of its addresses, to probe all pods with that address's family,
// and returns the number of probes. The Services' rules follow the pods after a moment, so it asks again until
// every probe succeeds or the time is over.
func (r run) probe(ctx context.Context, from end, ends []end) (int, error) {
	client := probe.NewClient(r.cluster.DialContext(from.node))
	probes := 0
	for family, address := range from.direct {
		targets, want := targets(ends, family)
		err := poll(ctx, fmt.Sprintf("connections from %s, %s", from.name, address), func(ctx context.Context) error {
			results, err := client.Ask(ctx, address.String(), targets)
			if err != nil {
				return err
			}
			return compare(targets, want, results)
		})
		if err != nil {
			return probes, err
		}
		probes += len(targets)
	}
	return probes, nil
}

// compare returns an error that names the first target that the right pod did not answer.
func compare(targets []probe.Target, want []string, results []probe.Result) error {
	for i, res := range results {
		switch {
		case !res.Open:
			return fmt.Errorf("to %s, %s %s: %s", want[i], targets[i].Protocol, targets[i].Address(), res.Error)
		case res.AnsweredBy != want[i]:
			return fmt.Errorf("to %s, %s %s: %s answers", want[i], targets[i].Protocol, targets[i].Address(), res.AnsweredBy)
		}
	}
	return nil
}

// poll calls f until it succeeds or the timeout expires.
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
