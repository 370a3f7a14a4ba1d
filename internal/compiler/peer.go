package compiler

import (
	"fmt"
	"net/netip"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/utils/net"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/selector"
)

// peer reads one peer into out. "Exactly one of podSelector/namespaceSelector and ipBlock": a peer with neither
// or both cannot be understood and matches nothing.
func (ps *parser) peer(field string, p *networkingv1.NetworkPolicyPeer, out *program.Peers) []setRef {
	selects := p.PodSelector != nil || p.NamespaceSelector != nil
	switch {
	case p.IPBlock != nil && selects:
		ps.diagnose(field, "ipBlock beside a podSelector or namespaceSelector; the peer matches nothing")
	case p.IPBlock != nil:
		if b, ok := ps.block(field+".ipBlock", p.IPBlock); ok {
			out.Blocks = append(out.Blocks, b)
		}
	case selects:
		if q, ok := ps.query(field, p); ok {
			ref := podSetRef(q)
			out.Sets = append(out.Sets, ref.id)
			return []setRef{ref}
		}
	default:
		ps.diagnose(field, "none of podSelector, namespaceSelector and ipBlock is set; the peer matches nothing")
	}
	return nil
}

// query: "If namespaceSelector is also set, then the NetworkPolicyPeer as a whole selects the pods matching
// podSelector in the namespaces selected by namespaceSelector. Otherwise it selects the pods matching
// podSelector in the policy's own namespace."
func (ps *parser) query(field string, p *networkingv1.NetworkPolicyPeer) (selector.Query, bool) {
	pods, okPods := ps.selector(field+".podSelector", p.PodSelector)
	if p.NamespaceSelector == nil {
		return selector.Query{Namespace: ps.np.Namespace, Pods: pods}, okPods
	}
	nss, okNamespaces := ps.selector(field+".namespaceSelector", p.NamespaceSelector)
	return selector.Query{Namespaces: nss, Pods: pods}, okPods && okNamespaces
}

func (ps *parser) selector(field string, ls *metav1.LabelSelector) (selector.Selector, bool) {
	s, err := selector.Parse(ls)
	if err != nil {
		ps.diagnose(field, "%v; the peer matches nothing", err)
		return s, false
	}
	return s, true
}

// block reads an ipBlock. If an except cannot be read, it is unknown which addresses it was meant to exclude,
// so the whole block matches nothing.
func (ps *parser) block(field string, b *networkingv1.IPBlock) (program.Block, bool) {
	cidr, err := parseCIDR(b.CIDR)
	if err != nil {
		ps.diagnose(field+".cidr", "%v; the peer matches nothing", err)
		return program.Block{}, false
	}
	out, ok := program.Block{CIDR: cidr}, true
	for i, e := range b.Except {
		x, err := parseCIDR(e)
		if err != nil {
			ps.diagnose(fmt.Sprintf("%s.except[%d]", field, i), "%v; the peer matches nothing", err)
			ok = false
			continue
		}
		if !x.Overlaps(cidr) || x.Bits() <= cidr.Bits() {
			effect := "it takes nothing out"
			if x.Overlaps(cidr) {
				effect = "it takes out all"
			}
			ps.diagnose(fmt.Sprintf("%s.except[%d]", field, i), "%s is not inside %s; %s", e, b.CIDR, effect)
		}
		if x.Overlaps(cidr) {
			out.Except = append(out.Except, x)
		}
	}
	return out, ok
}

// parseCIDR reads a CIDR as Kubernetes has always read stored ones: octets with leading zeros are decimal,
// host bits are cut off, and a block of IPv4-mapped IPv6 addresses is the IPv4 block it maps.
func parseCIDR(s string) (netip.Prefix, error) {
	ip, n, err := utilnet.ParseCIDRSloppy(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is not a CIDR", s)
	}
	ones, bits := n.Mask.Size()
	a, _ := netip.AddrFromSlice(ip) // net.IP of a parsed CIDR has 4 or 16 bytes
	a = a.Unmap()
	if a.Is4() && bits == 128 {
		ones -= 96
	}
	p := netip.PrefixFrom(a, ones)
	if !p.IsValid() {
		return netip.Prefix{}, fmt.Errorf("%q covers more than IPv4-mapped addresses", s)
	}
	return p.Masked(), nil
}
