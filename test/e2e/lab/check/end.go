package check

import (
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/netpol-agent/netpol-agent/test/e2e/lab"
	"github.com/netpol-agent/netpol-agent/test/e2e/probe"
)

const (
	port = 80
	// podsPerNode is enough for connections inside a node.
	podsPerNode = 2
	// label is the label by which a Service finds its one pod.
	label = "netpol-lab-check"
)

// end is a running pod and its addresses, one of each family, in the order of the cluster's families.
type end struct {
	name, node      string
	direct, service []netip.Addr
}

// newEnd fails until the pod runs and it and its Service have the addresses that a cluster of these options
// gives them.
func newEnd(p *corev1.Pod, s *corev1.Service, opts lab.Options) (end, error) {
	e := end{name: p.Name, node: p.Spec.NodeName}
	if p.Status.Phase != corev1.PodRunning {
		return e, fmt.Errorf("it is %s", p.Status.Phase)
	}
	var ips []string
	for _, ip := range p.Status.PodIPs {
		ips = append(ips, ip.IP)
	}
	var err error
	if e.direct, err = inRanges(ips, opts.PodCIDRs()); err != nil {
		return e, err
	}
	if e.service, err = inRanges(s.Spec.ClusterIPs, opts.ServiceCIDRs()); err != nil {
		return e, fmt.Errorf("its Service: %w", err)
	}
	return e, nil
}

// inRanges parses addresses. There must be one in each range, in the same order.
func inRanges(ips []string, ranges []netip.Prefix) ([]netip.Addr, error) {
	if len(ips) != len(ranges) {
		return nil, fmt.Errorf("addresses %q, want one of each of %s", ips, ranges)
	}
	var all []netip.Addr
	for i, ip := range ips {
		a, err := netip.ParseAddr(ip)
		if err != nil {
			return nil, err
		}
		if !ranges[i].Contains(a) {
			return nil, fmt.Errorf("address %s, want one of %s", a, ranges[i])
		}
		all = append(all, a)
	}
	return all, nil
}

// targets returns the addresses of a family of all pods and their Services, and who should answer at each.
func targets(ends []end, family int) (all []probe.Target, names []string) {
	for _, e := range ends {
		for _, host := range []netip.Addr{e.direct[family], e.service[family]} {
			for _, protocol := range []string{probe.TCP, probe.UDP} {
				all = append(all, probe.Target{Host: host.String(), Port: port, Protocol: protocol})
				names = append(names, e.name)
			}
		}
	}
	return all, names
}

func pod(name, node string) *corev1.Pod {
	grace := int64(0)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{label: name}},
		Spec: corev1.PodSpec{
			NodeName:                      node,
			TerminationGracePeriodSeconds: &grace,
			// The cluster has no DNS.
			DNSPolicy: corev1.DNSDefault,
			Containers: []corev1.Container{{
				Name:  "probe",
				Image: lab.ProbeImage,
				Args:  []string{"serve", "-tcp", "80", "-udp", "80"},
			}},
		},
	}
}

// service returns a Service with an address of each of the cluster's families.
func service(name string) *corev1.Service {
	all := corev1.IPFamilyPolicyPreferDualStack
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.ServiceSpec{
			Selector:       map[string]string{label: name},
			IPFamilyPolicy: &all,
			Ports: []corev1.ServicePort{
				{Name: "tcp", Port: port, Protocol: corev1.ProtocolTCP},
				{Name: "udp", Port: port, Protocol: corev1.ProtocolUDP},
			},
		},
	}
}
