package demo

import (
	"context"
	_ "embed" // for clusterYAML
	"fmt"
	"net/netip"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"

	"github.com/netpol-agent/netpol-agent/internal/manifest"
	"github.com/netpol-agent/netpol-agent/test/e2e/lab"
	"github.com/netpol-agent/netpol-agent/test/e2e/probe"
	"github.com/netpol-agent/netpol-agent/test/oracle"
)

//go:embed cluster.yaml
var clusterYAML []byte

// podsTimeout is how long pods may take until they run.
const podsTimeout = 2 * time.Minute

// createObjects creates the demo's namespaces, pods and Services and waits until all pods run.
func (d *Demo) createObjects(ctx context.Context) error {
	objects, problems := manifest.Read("cluster.yaml", clusterYAML, manifest.Options{})
	if len(problems) > 0 {
		return fmt.Errorf("the demo's own objects: %v", problems[0])
	}
	var docs []any
	for _, ns := range objects.Namespaces {
		ns.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"}
		docs = append(docs, ns)
	}
	for _, p := range objects.Pods {
		complete(p)
		docs = append(docs, p, serviceOf(p))
		d.podNames = append(d.podNames, p.Namespace+"/"+p.Name)
	}
	var text strings.Builder
	for _, doc := range docs {
		raw, err := yaml.Marshal(doc)
		if err != nil {
			return err
		}
		text.WriteString("---\n" + string(raw))
	}
	if _, err := d.kubectl(ctx, text.String(), "apply", "-f", "-"); err != nil {
		return err
	}
	for _, ns := range append(namespaceNames(objects), "default", "kube-system") {
		_, err := d.kubectl(ctx, "", "wait", "pod", "--all", "-n", ns, "--for=condition=Ready", "--timeout="+podsTimeout.String())
		if err != nil {
			return err
		}
	}
	return nil
}

func namespaceNames(o *manifest.Objects) []string {
	var names []string
	for _, ns := range o.Namespaces {
		names = append(names, ns.Name)
	}
	return names
}

// podLabel is the label by which a Service finds its one pod.
const podLabel = "demo-pod"

// complete adds what every pod of the demo has.
func complete(p *corev1.Pod) {
	p.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}
	p.Labels[podLabel] = p.Name
	no, soon := false, int64(0)
	p.Spec.AutomountServiceAccountToken = &no
	p.Spec.TerminationGracePeriodSeconds = &soon
	p.Spec.DNSPolicy = corev1.DNSDefault // the cluster has no DNS
	args := []string{"serve", "-name", p.Namespace + "/" + p.Name}
	// The order is the same each time, because a second run applies the same pods, and a pod's arguments cannot
	// change.
	for _, proto := range []string{probe.TCP, probe.UDP} {
		var list []string
		for _, a := range answered {
			if a.protocol == proto {
				list = append(list, fmt.Sprint(a.number))
			}
		}
		args = append(args, "-"+proto, strings.Join(list, ","))
	}
	p.Spec.Containers = []corev1.Container{{
		Name: "probe", Image: lab.ProbeImage, ImagePullPolicy: corev1.PullNever, Args: args,
	}}
}

func serviceOf(p *corev1.Pod) *corev1.Service {
	s := &corev1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{podLabel: p.Name}},
	}
	for _, a := range answered {
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{
			Name: fmt.Sprintf("%s-%d", a.protocol, a.number), Protocol: corev1.Protocol(strings.ToUpper(a.protocol)),
			Port: int32(a.number), TargetPort: intstr.FromInt(a.number), //nolint:gosec // ports of this file
		})
	}
	return s
}

// readState reads from the API server what the oracle needs, and the addresses of pods and Services.
func (d *Demo) readState(ctx context.Context) (oracle.State, error) {
	s := oracle.State{NodeAddrs: d.nodeAddrs}
	pods, err := d.client.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return s, fmt.Errorf("list pods: %w", err)
	}
	for i := range pods.Items {
		s.Pods = append(s.Pods, &pods.Items[i])
	}
	namespaces, err := d.client.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
	if err != nil {
		return s, fmt.Errorf("list namespaces: %w", err)
	}
	for i := range namespaces.Items {
		s.Namespaces = append(s.Namespaces, &namespaces.Items[i])
	}
	policies, err := d.client.NetworkingV1().NetworkPolicies("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return s, fmt.Errorf("list network policies: %w", err)
	}
	for i := range policies.Items {
		s.Policies = append(s.Policies, &policies.Items[i])
	}
	return s, nil
}

// readPlaces finds the addresses of the demo's pods and of their Services.
func (d *Demo) readPlaces(ctx context.Context) error {
	for _, name := range d.podNames {
		ns, pod, _ := strings.Cut(name, "/")
		p, err := d.client.CoreV1().Pods(ns).Get(ctx, pod, metav1.GetOptions{})
		if err != nil {
			return fmt.Errorf("pod %s: %w", name, err)
		}
		s, err := d.client.CoreV1().Services(ns).Get(ctx, pod, metav1.GetOptions{})
		if err != nil {
			return fmt.Errorf("service %s: %w", name, err)
		}
		direct, err := netip.ParseAddr(p.Status.PodIP)
		if err != nil {
			return fmt.Errorf("pod %s: address: %w", name, err)
		}
		d.pods = append(d.pods, place{name: name, node: p.Spec.NodeName, direct: direct, service: s.Spec.ClusterIP})
	}
	return nil
}
