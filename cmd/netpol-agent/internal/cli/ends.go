package cli

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/netpol-agent/netpol-agent/internal/compiler"
)

// end is one end of the connection that explain is asked about.
type end struct {
	// name is what explain calls the end: "namespace/pod", or the address.
	name  string
	addrs []netip.Addr
	// pods are the pod that was named, or the pods that policies judge at the address that was given: none for an
	// address outside, and several only while the cluster's state is stale.
	pods []compiler.Pod
}

// findEnd finds the pod that "namespace/name" or "name" names, or the pods of an IP address. c holds the objects: which
// pods an address means is the compiler's answer.
func (o *objects) findEnd(c *compiler.Compiler, arg, namespace string) (*end, error) {
	if addr, err := netip.ParseAddr(arg); err == nil {
		return o.endOfAddr(c, addr.Unmap().WithZone("")), nil
	}
	ns, name, found := strings.Cut(arg, "/")
	if !found {
		ns, name = namespace, arg
	}
	if ns == "" || name == "" || strings.Contains(name, "/") {
		return nil, usagef("%q is neither namespace/pod nor an IP address", arg)
	}
	pod := o.pod(types.NamespacedName{Namespace: ns, Name: name})
	if pod == nil {
		return nil, o.noSuchPod(ns, name)
	}
	p := compiler.ReadPod(pod)
	switch {
	case p.Over:
		return nil, fmt.Errorf("pod %s is %s and no longer has an address", p.Name, pod.Status.Phase)
	case len(p.Addrs) == 0:
		return nil, fmt.Errorf("pod %s has no IP address yet (status.podIPs)", p.Name)
	}
	return &end{name: p.Name.String(), addrs: p.Addrs, pods: []compiler.Pod{p}}, nil
}

func (o *objects) endOfAddr(c *compiler.Compiler, addr netip.Addr) *end {
	e := &end{name: addr.String(), addrs: []netip.Addr{addr}}
	var names []string
	for _, name := range c.PodsAt(addr) {
		e.pods = append(e.pods, compiler.ReadPod(o.pod(name)))
		names = append(names, name.String())
	}
	if len(names) > 0 {
		e.name = strings.Join(names, " and ")
	}
	return e
}

// pod returns the pod of that name, or nil.
func (o *objects) pod(name types.NamespacedName) *corev1.Pod {
	i := slices.IndexFunc(o.pods, func(p *corev1.Pod) bool { return p.Namespace == name.Namespace && p.Name == name.Name })
	if i < 0 {
		return nil
	}
	return o.pods[i]
}

// noSuchPod lists the pods that may have been meant: those of the namespace.
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

// nodeAddrs returns the addresses of the node on which the end's pods run, as far as the API knows them. There is no such
// node for what runs in a node's own network, which is judged nowhere, and for pods of one address on several nodes: no
// address belongs to all of those.
func (o *objects) nodeAddrs(e *end) []netip.Addr {
	var nodes []string
	for i := range e.pods {
		if p := &e.pods[i]; !p.HostNetwork && p.Node != "" && !slices.Contains(nodes, p.Node) {
			nodes = append(nodes, p.Node)
		}
	}
	if len(nodes) != 1 {
		return nil
	}
	var out []netip.Addr
	for _, n := range o.nodes {
		if n.Name != nodes[0] {
			continue
		}
		for _, a := range n.Status.Addresses {
			if addr, err := netip.ParseAddr(a.Address); err == nil { // the others are host names
				out = append(out, addr)
			}
		}
	}
	for _, obj := range o.pods {
		if p := compiler.ReadPod(obj); p.Node == nodes[0] && !p.Over {
			out = append(out, p.NodeAddrs...)
		}
	}
	return out
}

// portOf reads --port: a number, or the name that every destination pod gives the same port.
func (f *explainFlags) portOf(to *end) (uint16, error) {
	if f.port == "" {
		return 0, nil
	}
	if n, err := strconv.ParseUint(f.port, 10, 16); err == nil && n > 0 {
		return uint16(n), nil
	} else if _, err := strconv.Atoi(f.port); err == nil {
		return 0, usagef("--port: %s is not between 1 and 65535", f.port)
	}
	if len(to.pods) == 0 {
		return 0, fmt.Errorf("--port: %s is no pod, so none of its ports has the name %q: give the port's number", to.name, f.port)
	}
	var port uint16
	for i := range to.pods {
		p := &to.pods[i]
		number, ok := p.Port(f.port, corev1.Protocol(f.protocol.value))
		switch has := p.PortNames(); {
		case !ok && len(has) == 0:
			return 0, fmt.Errorf("--port: pod %s names none of its ports: give the port's number", p.Name)
		case !ok:
			return 0, fmt.Errorf("--port: pod %s has no port %s/%s; it has %s", p.Name, f.port, f.protocol.value, strings.Join(has, ", "))
		case i > 0 && number != port:
			return 0, fmt.Errorf("--port: %s give the name %s to different ports: give the port's number", to.name, f.port)
		}
		port = number
	}
	return port, nil
}
