package cli

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/netpol-agent/netpol-agent/internal/manifest"
)

// end is one end of the connection that explain is asked about.
type end struct {
	// name is how it is shown: "namespace/pod", or the address.
	name  string
	addrs []netip.Addr
	// pod is nil for an address that no pod of the cluster's network has.
	pod *corev1.Pod
}

// findEnd finds a pod by "namespace/name" or "name", or takes an IP address as what it is: the pod's, if a
// running pod has it.
func (o *objects) findEnd(arg, namespace string) (*end, error) {
	if addr, err := netip.ParseAddr(arg); err == nil {
		addr = addr.Unmap().WithZone("")
		e := &end{name: arg, addrs: []netip.Addr{addr}}
		for _, p := range o.pods {
			if running(p) && !p.Spec.HostNetwork && slices.Contains(podAddrs(p), addr) {
				e.pod, e.name = p, p.Namespace+"/"+p.Name
			}
		}
		return e, nil
	}
	ns, name, found := strings.Cut(arg, "/")
	if !found {
		ns, name = namespace, arg
	}
	if ns == "" || name == "" || strings.Contains(name, "/") {
		return nil, usagef("%q is neither namespace/pod nor an IP address", arg)
	}
	i := slices.IndexFunc(o.pods, func(p *corev1.Pod) bool { return p.Namespace == ns && p.Name == name })
	if i < 0 {
		return nil, o.noSuchPod(ns, name)
	}
	pod := o.pods[i]
	e := &end{name: ns + "/" + name, addrs: podAddrs(pod), pod: pod}
	switch {
	case !running(pod):
		return nil, fmt.Errorf("pod %s is %s: it has no address any more", e.name, pod.Status.Phase)
	case len(e.addrs) == 0:
		return nil, fmt.Errorf("pod %s has no IP address yet (status.podIPs)", e.name)
	}
	return e, nil
}

// noSuchPod lists pods that may have been meant: those of the namespace.
func (o *objects) noSuchPod(ns, name string) error {
	var there []string
	for _, p := range o.pods {
		if p.Namespace == ns {
			there = append(there, p.Name)
		}
	}
	if len(there) == 0 {
		return fmt.Errorf("there is no pod %s/%s, nor any other in namespace %s", ns, name, ns)
	}
	slices.Sort(there)
	const shown = 10
	more := ""
	if len(there) > shown {
		more = fmt.Sprintf(" and %d more", len(there)-shown)
		there = there[:shown]
	}
	return fmt.Errorf("there is no pod %s/%s; namespace %s has %s%s", ns, name, ns, strings.Join(there, ", "), more)
}

func running(p *corev1.Pod) bool {
	return p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed
}

// podAddrs gives the addresses of a pod, without what is no address.
func podAddrs(p *corev1.Pod) []netip.Addr {
	texts := []string{p.Status.PodIP}
	for _, ip := range p.Status.PodIPs {
		texts = append(texts, ip.IP)
	}
	return parseAddrs(texts)
}

func parseAddrs(texts []string) []netip.Addr {
	var out []netip.Addr
	for _, text := range texts {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			continue
		}
		if addr = addr.Unmap(); !slices.Contains(out, addr) {
			out = append(out, addr)
		}
	}
	return out
}

// nodeAddrs gives the addresses of the node on which a pod runs whose connections are judged. What runs in
// the node's own network is judged nowhere, so its node does not matter.
func (o *objects) nodeAddrs(e *end) []netip.Addr {
	if e.pod == nil || e.pod.Spec.HostNetwork || e.pod.Spec.NodeName == "" {
		return nil
	}
	var texts []string
	for _, n := range o.nodes {
		if n.Name != e.pod.Spec.NodeName {
			continue
		}
		for _, a := range n.Status.Addresses {
			texts = append(texts, a.Address)
		}
	}
	for _, p := range o.pods {
		if p.Spec.NodeName != e.pod.Spec.NodeName || !running(p) {
			continue
		}
		texts = append(texts, p.Status.HostIP)
		for _, ip := range p.Status.HostIPs {
			texts = append(texts, ip.IP)
		}
	}
	return parseAddrs(texts)
}

// portOf reads --port: a number, or the name of a port of the destination pod.
func (f *explainFlags) portOf(to *end) (uint16, error) {
	if f.port == "" {
		return 0, nil
	}
	if n, err := strconv.ParseUint(f.port, 10, 16); err == nil && n > 0 {
		return uint16(n), nil
	} else if _, err := strconv.Atoi(f.port); err == nil {
		return 0, usagef("--port: %s is not between 1 and 65535", f.port)
	}
	if to.pod == nil {
		return 0, fmt.Errorf("--port: %s is no pod, so none of its ports has the name %q", to.name, f.port)
	}
	var has []string
	for _, p := range containerPorts(to.pod) {
		protocol := string(p.Protocol)
		if protocol == "" {
			protocol = string(corev1.ProtocolTCP)
		}
		if p.Name == f.port && protocol == f.protocol.value && p.ContainerPort > 0 && p.ContainerPort <= 65535 {
			return uint16(p.ContainerPort), nil
		}
		if p.Name != "" {
			has = append(has, p.Name+"/"+protocol)
		}
	}
	if len(has) == 0 {
		return 0, fmt.Errorf("--port: pod %s names none of its ports", to.name)
	}
	return 0, fmt.Errorf("--port: pod %s has no port %s/%s; it has %s", to.name, f.port, f.protocol.value, strings.Join(has, ", "))
}

// containerPorts lists the ports of the containers that run as long as the pod: sidecars are among the init
// containers.
func containerPorts(p *corev1.Pod) []corev1.ContainerPort {
	var out []corev1.ContainerPort
	for i := range p.Spec.Containers {
		out = append(out, p.Spec.Containers[i].Ports...)
	}
	for i := range p.Spec.InitContainers {
		c := &p.Spec.InitContainers[i]
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			out = append(out, c.Ports...)
		}
	}
	return out
}

func policyRef(name string) manifest.Ref {
	ns, n, _ := strings.Cut(name, "/")
	return manifest.PolicyRef(ns, n)
}
