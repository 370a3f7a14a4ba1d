package compiler

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
)

// podFacts holds what matters about a pod. The zero value is a pod that takes no part: it does not exist, uses
// hostNetwork, or is over.
type podFacts struct {
	takesPart bool
	local     bool
	labels    map[string]string
	addrs     []netip.Addr
	ports     map[namedPort]uint16
}

// namedPort is how a policy names a container port.
type namedPort struct {
	protocol uint8
	name     string
}

func (f podFacts) equal(o podFacts) bool {
	return f.takesPart == o.takesPart && f.local == o.local && slices.Equal(f.addrs, o.addrs) &&
		maps.Equal(f.labels, o.labels) && maps.Equal(f.ports, o.ports)
}

// readPod reads what matters from a pod. A pod with hostNetwork has its node's addresses, and is never selected
// and never a peer; a pod that is over has released its address. A terminating pod that still runs is like any
// other.
func readPod(p *corev1.Pod, node string) podFacts {
	if p.Spec.HostNetwork || over(p) {
		return podFacts{}
	}
	return podFacts{
		takesPart: true,
		local:     node == "" || p.Spec.NodeName == node,
		labels:    p.Labels,
		addrs:     podAddrs(p),
		ports:     podPorts(p),
	}
}

// podPorts returns the pod's named ports. Containers come before sidecars, and the first port of a name and
// protocol counts; 0 marks a name whose number is invalid.
func podPorts(p *corev1.Pod) map[namedPort]uint16 {
	var out map[namedPort]uint16
	add := func(ports []corev1.ContainerPort) {
		for _, cp := range ports {
			proto, ok := protocolNumber(cmp.Or(cp.Protocol, corev1.ProtocolTCP))
			key := namedPort{proto, cp.Name}
			if _, taken := out[key]; taken || cp.Name == "" || !ok {
				continue
			}
			if out == nil {
				out = map[namedPort]uint16{}
			}
			out[key] = 0 // an invalid number still takes the name
			if cp.ContainerPort >= 1 && cp.ContainerPort <= maxPort {
				out[key] = uint16(cp.ContainerPort)
			}
		}
	}
	for i := range p.Spec.Containers {
		add(p.Spec.Containers[i].Ports)
	}
	for i := range p.Spec.InitContainers {
		ic := &p.Spec.InitContainers[i]
		if ic.RestartPolicy != nil && *ic.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			add(ic.Ports)
		}
	}
	return out
}

// protocolNumber returns the IP protocol number for the API's name.
func protocolNumber(p corev1.Protocol) (uint8, bool) {
	switch p {
	case corev1.ProtocolTCP:
		return program.TCP, true
	case corev1.ProtocolUDP:
		return program.UDP, true
	case corev1.ProtocolSCTP:
		return program.SCTP, true
	}
	return 0, false
}

// pod is a pod that takes part.
type pod struct {
	key types.NamespacedName
	podFacts
	// tiers are the policies that isolate the pod, if it is local, by direction; nil for none.
	tiers [2]*tier
	// changed are the policies that may have begun or ceased to isolate the pod since its tiers were settled.
	changed []*policy
	// sets are the pod sets whose query the pod matches.
	sets map[*set]struct{}
}

// address holds the pods that report one address: one pod, unless the cluster's state is stale.
type address struct{ pods []*pod }

// replacePod replaces the known facts about a pod.
func (c *Compiler) replacePod(key types.NamespacedName, next podFacts) {
	p := c.pods[key]
	if p == nil {
		if !next.takesPart {
			return
		}
		p = &pod{key: key, sets: map[*set]struct{}{}}
		c.pods[key] = p
	}
	if p.equal(next) {
		return
	}
	prev := p.podFacts
	p.podFacts = next
	moved := c.moveAddrs(p, prev.addrs, next.addrs)
	// Addresses first, with the previous matches: the index then reports what the labels change, and that is
	// applied at the current addresses.
	for _, a := range moved {
		c.refreshSets(a, p)
	}
	c.indexPod(p, prev)
	if len(moved) > 0 || prev.local != next.local || !maps.Equal(prev.ports, next.ports) {
		c.refreshNamedPorts(prev, next)
	}
	if prev.local || next.local {
		c.touch(prev.addrs...)
		c.touch(next.addrs...)
	}
	if !next.takesPart {
		delete(c.pods, key)
	}
}

// indexPod tells the indexes about the pod; they call subjectChanged and peerChanged.
func (c *Compiler) indexPod(p *pod, prev podFacts) {
	switch {
	case p.takesPart:
		c.peers.SetPod(p.key, p.labels)
	case prev.takesPart:
		c.peers.DeletePod(p.key)
	}
	switch {
	case p.takesPart && p.local:
		c.subjects.SetPod(p.key, p.labels)
	case prev.local:
		c.subjects.DeletePod(p.key)
	}
}

// moveAddrs removes the pod from addresses that it no longer reports and adds it to new ones. It returns both.
func (c *Compiler) moveAddrs(p *pod, prev, next []netip.Addr) []netip.Addr {
	var moved []netip.Addr
	for _, a := range prev {
		if slices.Contains(next, a) {
			continue
		}
		at := c.addrs[a]
		at.pods = slices.DeleteFunc(at.pods, func(o *pod) bool { return o == p })
		if len(at.pods) == 0 {
			delete(c.addrs, a)
		}
		moved = append(moved, a)
	}
	for _, a := range next {
		if slices.Contains(prev, a) {
			continue
		}
		at := c.addrs[a]
		if at == nil {
			at = &address{}
			c.addrs[a] = at
		}
		at.pods = append(at.pods, p)
		moved = append(moved, a)
	}
	return moved
}

// touch notes that the Local of these addresses must be recomputed.
func (c *Compiler) touch(addrs ...netip.Addr) {
	for _, a := range addrs {
		c.dirty[a] = struct{}{}
	}
}
