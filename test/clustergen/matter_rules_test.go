package clustergen

import (
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/netpol-agent/netpol-agent/test/oracle"
)

func peerMisreadings() []misreading {
	peers := func(name string, change func(*networkingv1.NetworkPolicyPeer)) misreading {
		return misreading{name, func(s *oracle.State) { eachPeer(*s, change) }}
	}
	selectors := func(name string, change func(*metav1.LabelSelector)) misreading {
		return misreading{name, func(s *oracle.State) { eachSelector(*s, change) }}
	}
	return []misreading{
		peers("podSelector beside namespaceSelector does not count", func(p *networkingv1.NetworkPolicyPeer) {
			if p.NamespaceSelector != nil {
				p.PodSelector = nil
			}
		}),
		peers("namespaceSelector beside podSelector does not count", func(p *networkingv1.NetworkPolicyPeer) {
			if p.PodSelector != nil {
				p.NamespaceSelector = nil
			}
		}),
		peers("podSelector alone is all namespaces", func(p *networkingv1.NetworkPolicyPeer) {
			if p.PodSelector != nil && p.NamespaceSelector == nil {
				p.NamespaceSelector = &metav1.LabelSelector{}
			}
		}),
		peers("a peer without fields is everybody in the namespace", func(p *networkingv1.NetworkPolicyPeer) {
			if *p == (networkingv1.NetworkPolicyPeer{}) {
				p.PodSelector = &metav1.LabelSelector{}
			}
		}),
		peers("a peer without fields is everybody", func(p *networkingv1.NetworkPolicyPeer) {
			if *p == (networkingv1.NetworkPolicyPeer{}) {
				p.IPBlock = &networkingv1.IPBlock{CIDR: "0.0.0.0/0"}
			}
		}),
		peers("selectors beside ipBlock do not count", func(p *networkingv1.NetworkPolicyPeer) {
			if p.IPBlock != nil {
				p.PodSelector, p.NamespaceSelector = nil, nil
			}
		}),
		peers("ipBlock beside selectors does not count", func(p *networkingv1.NetworkPolicyPeer) {
			if p.PodSelector != nil || p.NamespaceSelector != nil {
				p.IPBlock = nil
			}
		}),
		peers("an empty selector is every address", func(p *networkingv1.NetworkPolicyPeer) {
			if p.IPBlock == nil && p.PodSelector == nil && p.NamespaceSelector != nil && len(p.NamespaceSelector.MatchLabels)+len(p.NamespaceSelector.MatchExpressions) == 0 {
				p.NamespaceSelector, p.IPBlock = nil, &networkingv1.IPBlock{CIDR: "0.0.0.0/0"}
			}
		}),
		selectors("a bad selector is empty", func(l *metav1.LabelSelector) {
			if !parses(l) {
				*l = metav1.LabelSelector{}
			}
		}),
		selectors("what is bad in a selector is left out", func(l *metav1.LabelSelector) {
			l.MatchExpressions = slices.DeleteFunc(l.MatchExpressions, func(r metav1.LabelSelectorRequirement) bool {
				return !parses(&metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{r}})
			})
		}),
		selectors("NotIn needs the key", func(l *metav1.LabelSelector) {
			for _, r := range slices.Clone(l.MatchExpressions) {
				if r.Operator == metav1.LabelSelectorOpNotIn {
					l.MatchExpressions = append(l.MatchExpressions, metav1.LabelSelectorRequirement{Key: r.Key, Operator: metav1.LabelSelectorOpExists})
				}
			}
		}),
		selectors("In is Exists", func(l *metav1.LabelSelector) {
			for i, r := range l.MatchExpressions {
				if r.Operator == metav1.LabelSelectorOpIn && len(r.Values) > 0 {
					l.MatchExpressions[i] = metav1.LabelSelectorRequirement{Key: r.Key, Operator: metav1.LabelSelectorOpExists}
				}
			}
		}),
		selectors("DoesNotExist does not count", func(l *metav1.LabelSelector) {
			l.MatchExpressions = slices.DeleteFunc(l.MatchExpressions, func(r metav1.LabelSelectorRequirement) bool {
				return r.Operator == metav1.LabelSelectorOpDoesNotExist && len(r.Values) == 0
			})
		}),
		selectors("matchExpressions do not count", func(l *metav1.LabelSelector) {
			if parses(l) {
				l.MatchExpressions = nil
			}
		}),
		selectors("matchLabels do not count", func(l *metav1.LabelSelector) {
			if parses(l) {
				l.MatchLabels = nil
			}
		}),
	}
}

func blockMisreadings() []misreading {
	blocks := func(name string, change func(*networkingv1.IPBlock)) misreading {
		return misreading{name, func(s *oracle.State) {
			eachPeer(*s, func(p *networkingv1.NetworkPolicyPeer) {
				if p.IPBlock != nil {
					change(p.IPBlock)
				}
			})
		}}
	}
	bad := func(text string) bool {
		_, err := netip.ParsePrefix(text)
		_, old := oldCIDRs[text]
		return err != nil && !old
	}
	return []misreading{
		blocks("except does not count", func(b *networkingv1.IPBlock) { b.Except = nil }),
		blocks("only the first except counts", func(b *networkingv1.IPBlock) { b.Except = b.Except[:min(1, len(b.Except))] }),
		blocks("a bad except is left out", func(b *networkingv1.IPBlock) { b.Except = slices.DeleteFunc(b.Except, bad) }),
		blocks("an except equal to the CIDR is left out", func(b *networkingv1.IPBlock) {
			b.Except = slices.DeleteFunc(b.Except, func(text string) bool { return text == b.CIDR })
		}),
		blocks("a bad CIDR is everything", func(b *networkingv1.IPBlock) {
			if bad(b.CIDR) {
				b.CIDR = "0.0.0.0/0"
			}
		}),
		blocks("an old CIDR is bad", func(b *networkingv1.IPBlock) {
			if _, old := oldCIDRs[b.CIDR]; old {
				b.CIDR = "bad"
			}
		}),
		blocks("leading zeros are octal", func(b *networkingv1.IPBlock) { b.CIDR = strings.ReplaceAll(b.CIDR, "010.", "8.") }),
		blocks("IPv4-mapped blocks are bad", func(b *networkingv1.IPBlock) {
			if strings.HasPrefix(b.CIDR, "::ffff:") {
				b.CIDR = "bad"
			}
		}),
		blocks("a length of 0 is bad", func(b *networkingv1.IPBlock) {
			if strings.HasSuffix(b.CIDR, "/0") {
				b.CIDR = "bad"
			}
		}),
		blocks("all of IPv4 is all of IPv6 too", func(b *networkingv1.IPBlock) {
			if b.CIDR == "0.0.0.0/0" {
				b.CIDR = "::/0"
			}
		}),
		{"ipBlock does not match pods", func(s *oracle.State) {
			eachPeer(*s, func(p *networkingv1.NetworkPolicyPeer) {
				if p.IPBlock == nil {
					return
				}
				for _, pod := range s.Pods {
					for _, a := range podAddrs(pod) {
						p.IPBlock.Except = append(p.IPBlock.Except, netip.PrefixFrom(a, a.BitLen()).String())
					}
				}
			})
		}},
		{"the excepts of a rule are those of all its blocks", func(s *oracle.State) {
			eachPolicyBlocks(*s, func(blocks []*networkingv1.IPBlock) {
				var all []string
				for _, b := range blocks {
					all = append(all, b.Except...)
				}
				for _, b := range blocks {
					b.Except = all
				}
			})
		}},
	}
}

// eachPolicyBlocks visits the list of blocks of every rule.
func eachPolicyBlocks(s oracle.State, visit func([]*networkingv1.IPBlock)) {
	rule := func(peers []networkingv1.NetworkPolicyPeer) {
		var blocks []*networkingv1.IPBlock
		for _, p := range peers {
			if p.IPBlock != nil {
				blocks = append(blocks, p.IPBlock)
			}
		}
		visit(blocks)
	}
	for _, p := range s.Policies {
		for _, r := range p.Spec.Ingress {
			rule(r.From)
		}
		for _, r := range p.Spec.Egress {
			rule(r.To)
		}
	}
}

func portMisreadings() []misreading {
	ports := func(name string, change func(*networkingv1.NetworkPolicyPort)) misreading {
		return misreading{name, func(s *oracle.State) { eachPort(*s, change) }}
	}
	unknown := func(p *corev1.Protocol) bool { return p != nil && slices.Contains(badProtocols, *p) }
	number := func(p *networkingv1.NetworkPolicyPort) bool { return p.Port != nil && p.Port.Type == intstr.Int }
	named := func(p *networkingv1.NetworkPolicyPort) bool { return p.Port != nil && p.Port.Type == intstr.String }
	return []misreading{
		ports("endPort does not count", func(p *networkingv1.NetworkPolicyPort) { p.EndPort = nil }),
		ports("endPort is exclusive", func(p *networkingv1.NetworkPolicyPort) {
			if p.EndPort != nil && number(p) && *p.EndPort > p.Port.IntVal {
				*p.EndPort--
			}
		}),
		ports("endPort below port is port alone", func(p *networkingv1.NetworkPolicyPort) {
			if p.EndPort != nil && number(p) && *p.EndPort < p.Port.IntVal {
				p.EndPort = nil
			}
		}),
		ports("endPort above the range is its end", func(p *networkingv1.NetworkPolicyPort) {
			if p.EndPort != nil && *p.EndPort > 65535 {
				*p.EndPort = 65535
			}
		}),
		ports("endPort without port does not count", func(p *networkingv1.NetworkPolicyPort) {
			if p.Port == nil {
				p.EndPort = nil
			}
		}),
		ports("endPort with a named port does not count", func(p *networkingv1.NetworkPolicyPort) {
			if named(p) {
				p.EndPort = nil
			}
		}),
		ports("a port has 16 bits", func(p *networkingv1.NetworkPolicyPort) {
			if number(p) && p.EndPort == nil {
				p.Port.IntVal &= 0xffff
			}
		}),
		ports("port 0 is all ports", func(p *networkingv1.NetworkPolicyPort) {
			if number(p) && p.Port.IntVal == 0 {
				p.Port = nil
			}
		}),
		ports("missing protocol is UDP", func(p *networkingv1.NetworkPolicyPort) {
			if p.Protocol == nil {
				udp := corev1.ProtocolUDP
				p.Protocol = &udp
			}
		}),
		ports("SCTP is TCP", func(p *networkingv1.NetworkPolicyPort) {
			if p.Protocol != nil && *p.Protocol == corev1.ProtocolSCTP {
				p.Protocol = nil
			}
		}),
		ports("an unknown protocol is TCP", func(p *networkingv1.NetworkPolicyPort) {
			if unknown(p.Protocol) {
				p.Protocol = nil
			}
		}),
		ports("a named port is all ports", func(p *networkingv1.NetworkPolicyPort) {
			if named(p) {
				p.Port = nil
			}
		}),
		ports("a named port is no port", func(p *networkingv1.NetworkPolicyPort) {
			if named(p) {
				p.Port.StrVal = "missing"
			}
		}),
		ports("a named port that nobody has is all ports", func(p *networkingv1.NetworkPolicyPort) {
			if named(p) && p.Port.StrVal == "missing" {
				p.Port = nil
			}
		}),
		ports("digits are a number", func(p *networkingv1.NetworkPolicyPort) {
			if named(p) && p.Port.StrVal == "80" {
				*p.Port = intstr.FromInt32(80)
			}
		}),
		{"missing ports are TCP, UDP and SCTP", func(s *oracle.State) {
			eachPortList(*s, func(ports *[]networkingv1.NetworkPolicyPort) {
				if len(*ports) == 0 {
					udp, sctp := corev1.ProtocolUDP, corev1.ProtocolSCTP
					*ports = []networkingv1.NetworkPolicyPort{{}, {Protocol: &udp}, {Protocol: &sctp}}
				}
			})
		}},
		{"what is bad in ports is left out", func(s *oracle.State) {
			eachPortList(*s, func(ports *[]networkingv1.NetworkPolicyPort) {
				*ports = slices.DeleteFunc(*ports, func(p networkingv1.NetworkPolicyPort) bool { return unknown(p.Protocol) })
			})
		}},
	}
}
