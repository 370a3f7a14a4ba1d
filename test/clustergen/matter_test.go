package clustergen

import (
	"net/netip"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/netpol-agent/netpol-agent/test/oracle"
)

// misreading rewrites a state so that a right reading of the result yields the verdicts of a wrong reading of the
// original.
type misreading struct {
	name   string
	mutate func(*oracle.State)
}

// TestMisreadingsAreNoticed shows that the draws tell a wrong implementation from a right one: for each misreading of the
// specification, some random packets get a different verdict. A property test over the same draws finds such a mistake.
func TestMisreadingsAreNoticed(t *testing.T) {
	const states, packets, enough = 3000, 20, 5
	noticed := map[string]int{}
	open := slices.Concat(podMisreadings(), policyMisreadings(), peerMisreadings(), blockMisreadings(), portMisreadings())
	for seed := uint64(0); seed < states && len(open) > 0; seed++ {
		s := StateFromSeed(seed)
		asked := PacketsFromSeed(s, seed, packets)
		right := verdicts(s, asked)
		open = slices.DeleteFunc(open, func(m misreading) bool {
			wrong := copyState(s)
			m.mutate(&wrong)
			if slices.Equal(verdicts(wrong, asked), right) {
				return false
			}
			noticed[m.name]++
			if noticed[m.name] == enough {
				t.Logf("%4d clusters until noticed %d times: %s", seed+1, enough, m.name)
			}
			return noticed[m.name] == enough
		})
	}
	for _, m := range open {
		t.Errorf("%q is noticed in %d of %d clusters, want at least %d", m.name, noticed[m.name], states, enough)
	}
}

// verdicts returns the verdict of each node on each packet.
func verdicts(s oracle.State, packets []oracle.Packet) []bool {
	var all []bool
	for _, p := range packets {
		for _, node := range nodeNames {
			all = append(all, oracle.AllowedAt(s, node, p))
		}
	}
	return all
}

func podMisreadings() []misreading {
	pods := func(name string, change func(*corev1.Pod)) misreading {
		return misreading{name, func(s *oracle.State) { eachPod(*s, change) }}
	}
	return []misreading{
		pods("hostNetwork pods are pods", func(p *corev1.Pod) { p.Spec.HostNetwork = false }),
		pods("ended pods are pods", func(p *corev1.Pod) { p.Status.Phase = corev1.PodRunning }),
		pods("pending pods are no pods", func(p *corev1.Pod) {
			if p.Status.Phase == corev1.PodPending {
				p.Status.Phase = corev1.PodFailed
			}
		}),
		pods("terminating pods are no pods", func(p *corev1.Pod) {
			if p.DeletionTimestamp != nil {
				p.Status.Phase = corev1.PodFailed
			}
		}),
		pods("podIPs do not count", func(p *corev1.Pod) { p.Status.PodIPs = nil }),
		pods("podIP does not count", func(p *corev1.Pod) { p.Status.PodIP = "" }),
		pods("the last container port of a name counts", func(p *corev1.Pod) {
			slices.Reverse(p.Spec.Containers)
			slices.Reverse(p.Spec.InitContainers)
			for i := range p.Spec.Containers {
				slices.Reverse(p.Spec.Containers[i].Ports)
			}
		}),
		pods("sidecars have no ports", func(p *corev1.Pod) { p.Spec.InitContainers = nil }),
		pods("all init containers have ports", func(p *corev1.Pod) {
			always := corev1.ContainerRestartPolicyAlways
			for i := range p.Spec.InitContainers {
				p.Spec.InitContainers[i].RestartPolicy = &always
			}
		}),
		pods("the protocol of a container port does not count", func(p *corev1.Pod) {
			for i := range p.Spec.Containers {
				for j := range p.Spec.Containers[i].Ports {
					p.Spec.Containers[i].Ports[j].Protocol = corev1.ProtocolTCP
				}
			}
		}),
		pods("an empty label value is no label", func(p *corev1.Pod) {
			for key, value := range p.Labels {
				if value == "" {
					delete(p.Labels, key)
				}
			}
		}),
		{"the first pod of a shared address has it alone", func(s *oracle.State) { keepOneOwner(s, false) }},
		{"the last pod of a shared address has it alone", func(s *oracle.State) { keepOneOwner(s, true) }},
		{"a node has no addresses", func(s *oracle.State) { s.NodeAddrs = nil }},
		{"a node has one address", func(s *oracle.State) {
			cut := map[string][]netip.Addr{}
			for name, addrs := range s.NodeAddrs {
				cut[name] = addrs[:1]
			}
			s.NodeAddrs = cut
		}},
		{"every node is the own node", func(s *oracle.State) {
			merged := map[string][]netip.Addr{}
			for _, name := range nodeNames {
				for _, addrs := range s.NodeAddrs {
					merged[name] = append(merged[name], addrs...)
				}
			}
			s.NodeAddrs = merged
		}},
		{"an unknown namespace has no labels", func(s *oracle.State) {
			for _, name := range namespaceNames {
				if !slices.ContainsFunc(s.Namespaces, func(n *corev1.Namespace) bool { return n.Name == name }) {
					s.Namespaces = append(s.Namespaces, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
				}
			}
		}},
		{"namespaces have no labels", func(s *oracle.State) {
			for _, n := range s.Namespaces {
				n.Labels = nil
			}
		}},
	}
}

// keepOneOwner takes every address from all but one of the pods that take part and report it.
func keepOneOwner(s *oracle.State, last bool) {
	owned := map[netip.Addr]bool{}
	pods := slices.Clone(s.Pods)
	if last {
		slices.Reverse(pods)
	}
	for _, p := range pods {
		if p.Spec.HostNetwork || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
			continue
		}
		addrs := podAddrs(p)
		p.Status.PodIP, p.Status.PodIPs = "", nil
		for _, a := range addrs {
			if !owned[a] {
				owned[a] = true
				p.Status.PodIPs = append(p.Status.PodIPs, corev1.PodIP{IP: a.String()})
			}
		}
	}
}

func policyMisreadings() []misreading {
	const in, out = networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress
	policies := func(name string, change func(*networkingv1.NetworkPolicySpec)) misreading {
		return misreading{name, func(s *oracle.State) {
			for _, p := range s.Policies {
				change(&p.Spec)
			}
		}}
	}
	unknown := func(t networkingv1.PolicyType) bool { return t != in && t != out }
	return []misreading{
		policies("missing policyTypes mean Ingress", func(p *networkingv1.NetworkPolicySpec) {
			if len(p.PolicyTypes) == 0 {
				p.PolicyTypes = []networkingv1.PolicyType{in}
			}
		}),
		policies("missing policyTypes mean both", func(p *networkingv1.NetworkPolicySpec) {
			if len(p.PolicyTypes) == 0 {
				p.PolicyTypes = []networkingv1.PolicyType{in, out}
			}
		}),
		policies("rules isolate without their type", func(p *networkingv1.NetworkPolicySpec) {
			if len(p.PolicyTypes) > 0 && len(p.Ingress) > 0 {
				p.PolicyTypes = append(p.PolicyTypes, in)
			}
		}),
		policies("unknown policyTypes are left out", func(p *networkingv1.NetworkPolicySpec) {
			p.PolicyTypes = slices.DeleteFunc(p.PolicyTypes, unknown)
		}),
		policies("unknown policyTypes beside known ones are left out", func(p *networkingv1.NetworkPolicySpec) {
			if known := slices.DeleteFunc(slices.Clone(p.PolicyTypes), unknown); len(known) > 0 {
				p.PolicyTypes = known
			}
		}),
		policies("a bad podSelector selects nothing", func(p *networkingv1.NetworkPolicySpec) {
			if !parses(&p.PodSelector) {
				p.PodSelector = metav1.LabelSelector{MatchLabels: map[string]string{"no-pod": "has-this"}}
			}
		}),
		policies("every podSelector selects all", func(p *networkingv1.NetworkPolicySpec) { p.PodSelector = metav1.LabelSelector{} }),
		policies("only the first ingress rule counts", func(p *networkingv1.NetworkPolicySpec) { p.Ingress = p.Ingress[:min(1, len(p.Ingress))] }),
		policies("only the first egress rule counts", func(p *networkingv1.NetworkPolicySpec) { p.Egress = p.Egress[:min(1, len(p.Egress))] }),
		{"only the first policy counts", func(s *oracle.State) { s.Policies = s.Policies[:min(1, len(s.Policies))] }},
		{"no policy counts", func(s *oracle.State) { s.Policies = nil }},
	}
}
