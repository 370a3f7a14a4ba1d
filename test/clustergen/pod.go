package clustergen

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// pod returns the pod of a slot: its names are the slot's, all else is random.
func pod(s source, slot int) *corev1.Pod {
	p := &corev1.Pod{}
	p.Namespace, p.Name = slotNames(slot, podNames)
	node := s.intn(len(nodeNames))
	p.Spec.NodeName = nodeNames[node]
	p.Labels = labels(s)
	p.Spec.Containers = many(s, 1, 2, container)
	if oneIn(s, 2) {
		p.Spec.InitContainers = many(s, 1, 2, initContainer)
	}
	setPhase(s, p)
	setTerminating(s, p)
	if oneIn(s, 10) {
		p.Spec.HostNetwork = true
		p.Status.PodIPs = nil
		for _, addr := range nodeAddrs(node)[:1+s.intn(3)] {
			p.Status.PodIPs = append(p.Status.PodIPs, corev1.PodIP{IP: addr.String()})
		}
		p.Status.PodIP = p.Status.PodIPs[0].IP
		return p
	}
	setAddrs(s, p, slot)
	if p.Status.PodIP == "" && len(p.Status.PodIPs) == 0 && oneIn(s, 2) {
		p.Spec.NodeName = ""
		p.Status.Phase = corev1.PodPending
	}
	return p
}

// setPhase sets the pod's phase, mostly to one in which it runs.
func setPhase(s source, p *corev1.Pod) {
	p.Status.Phase = pick(s, []corev1.PodPhase{
		corev1.PodRunning, corev1.PodRunning, corev1.PodRunning, corev1.PodRunning, corev1.PodRunning, corev1.PodRunning, corev1.PodRunning,
		corev1.PodPending, corev1.PodUnknown, "", corev1.PodSucceeded, corev1.PodFailed})
}

// setTerminating marks the pod as being deleted in a few cases.
func setTerminating(s source, p *corev1.Pod) {
	p.DeletionTimestamp = nil
	if oneIn(s, 8) {
		p.DeletionTimestamp = &metav1.Time{Time: time.Unix(1_000_000_000, 0)}
	}
}

// setAddrs returns the pod its own addresses, another pod's, or none, in the forms that occur in objects.
func setAddrs(s source, p *corev1.Pod, slot int) {
	own4, own6 := podAddr4(slot), podAddr6(slot)
	p.Status.PodIP, p.Status.PodIPs = own4, []corev1.PodIP{{IP: own4}}
	switch s.intn(16) {
	case 0, 1, 2, 3, 4: // one IPv4 address
	case 5, 6, 7, 8: // dual-stack
		p.Status.PodIPs = append(p.Status.PodIPs, corev1.PodIP{IP: own6})
	case 9: // one IPv6 address
		p.Status.PodIP, p.Status.PodIPs = own6, []corev1.PodIP{{IP: own6}}
	case 10, 11: // another pod's addresses
		other := s.intn(slots)
		p.Status.PodIP = podAddr4(other)
		p.Status.PodIPs = []corev1.PodIP{{IP: podAddr4(other)}, {IP: podAddr6(other)}}
	case 12: // own IPv4, another pod's IPv6 or its second IPv4
		p.Status.PodIPs = append(p.Status.PodIPs, corev1.PodIP{IP: pick(s, []func(int) string{podAddr6, podAddr4})(s.intn(slots))})
	case 13: // none yet
		p.Status.PodIP, p.Status.PodIPs = "", nil
	case 14: // only one of the two fields, IPv4-mapped and with a zone, beside texts that are not addresses
		p.Status.PodIP = ""
		p.Status.PodIPs = []corev1.PodIP{{IP: "pending"}, {IP: "::ffff:" + own4}, {IP: ""}, {IP: own6 + "%eth0"}}
	case 15: // the two fields differ, and one repeats an address
		p.Status.PodIP, p.Status.PodIPs = own4, []corev1.PodIP{{IP: own6}, {IP: own6}}
	}
}

// container returns a container with up to four ports.
func container(s source) corev1.Container {
	return corev1.Container{Name: "c", Ports: many(s, 0, 4, func(s source) corev1.ContainerPort { return containerPort(s, containerPortNames) })}
}

// initContainer returns a container that has ended before the pod runs, or a sidecar.
func initContainer(s source) corev1.Container {
	c := corev1.Container{Name: "i", Ports: many(s, 0, 4, func(s source) corev1.ContainerPort { return containerPort(s, initPortNames) })}
	if s.intn(2) == 0 {
		always := corev1.ContainerRestartPolicyAlways
		c.RestartPolicy = &always
	} else if oneIn(s, 4) {
		never := corev1.ContainerRestartPolicyNever
		c.RestartPolicy = &never
	}
	return c
}

// containerPort returns a port that mostly has a name that policies use.
func containerPort(s source, names []portName) corev1.ContainerPort {
	chosen := pick(s, names)
	p := corev1.ContainerPort{Name: chosen.text, Protocol: chosen.protocol, ContainerPort: pick(s, portNumbers)}
	if oneIn(s, 4) {
		p.Protocol = pick(s, []corev1.Protocol{"", corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP})
	} else if p.Protocol == corev1.ProtocolTCP && oneIn(s, 2) {
		p.Protocol = ""
	}
	if oneIn(s, 20) {
		p.ContainerPort = pick(s, badPortNumbers)
	}
	if oneIn(s, 10) {
		p.Name = pick(s, badPortNames)
	}
	return p
}

// namespace returns the Namespace object of a name; it carries its name as a label in half of the cases.
func namespace(s source, name string) *corev1.Namespace {
	n := &corev1.Namespace{}
	n.Name = name
	n.Labels = labels(s)
	if oneIn(s, 2) {
		if n.Labels == nil {
			n.Labels = map[string]string{}
		}
		n.Labels[corev1.LabelMetadataName] = name
	}
	return n
}
