package neighbour

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFind(t *testing.T) {
	chain := func(family, table, name string) Chain { return Chain{Family: family, Table: table, Name: name} }
	for name, c := range map[string]struct {
		names Names
		want  []string
	}{
		"nothing": {},
		"a node with Flannel, kube-proxy, Docker and this agent": {names: Names{
			Chains: []Chain{
				chain("ip", "filter", "FORWARD"), chain("ip", "filter", "KUBE-FORWARD"), chain("ip", "filter", "KUBE-PROXY-FIREWALL"),
				chain("ip", "filter", "FLANNEL-FWD"), chain("ip", "nat", "FLANNEL-POSTRTG"), chain("ip", "nat", "KUBE-SVC-ABC"),
				chain("ip", "filter", "DOCKER-USER"), chain("ip", "kube-proxy", "filter-forward"), chain("ip", "mangle", "KUBE-KUBELET-CANARY"),
				chain("inet", "netpol-agent", "filter-forward"), chain("inet", "netpol-agent", "ingress/calico/cali-FORWARD"),
				chain("inet", "netpol-agent-2", "pods-v4/0123456789abcdef"), chain("inet", "netpol-agent-cut", "forward"),
				chain("inet", "firewalld", "filter_FORWARD"),
			},
			IPSets: []string{"KUBE-CLUSTER-IP", "KUBE-NODE-PORT-TCP", "netpol-agent-s-1"},
			Links:  []string{"lo", "eth0", "cni0", "flannel.1", "veth01234567", "docker0", "lxcbr0", "lxc1234", "weave", "kube-bridge"},
		}},
		"Calico, iptables-nft": {
			names: Names{Chains: []Chain{chain("ip", "nat", "cali-PREROUTING"), chain("ip", "filter", "cali-FORWARD"), chain("ip6", "filter", "cali-FORWARD")},
				IPSets: []string{"cali40masq-ipam-pools", "cali40all-ipam-pools"}, Links: []string{"cali12345678901"}},
			want: []string{"calico (Calico's Felix, as in Canal): chain cali-FORWARD in table ip filter, ipset cali40all-ipam-pools"},
		},
		"Calico, legacy iptables": {
			names: Names{IPSets: []string{"cali60this-host"}},
			want:  []string{"calico (Calico's Felix, as in Canal): ipset cali60this-host"},
		},
		"Calico, nftables": {
			names: Names{Chains: []Chain{chain("ip6", "calico", "filter-FORWARD"), chain("ip", "calico", "filter-cali-FORWARD")}},
			want:  []string{"calico (Calico's Felix, as in Canal): table ip calico"},
		},
		"Calico, eBPF": {
			names: Names{Links: []string{"bpfin.cali", "bpfout.cali"}},
			want:  []string{"calico (Calico's Felix, as in Canal): interface bpfin.cali"},
		},
		"Cilium": {
			names: Names{Chains: []Chain{chain("ip", "filter", "CILIUM_FORWARD")}, Links: []string{"lxc_health", "cilium_net", "cilium_host"}},
			want:  []string{"cilium: chain CILIUM_FORWARD in table ip filter, interface cilium_host"},
		},
		"Cilium without iptables": {names: Names{Links: []string{"cilium_host"}}, want: []string{"cilium: interface cilium_host"}},
		"kube-router, iptables-nft": {
			names: Names{Chains: []Chain{chain("ip", "filter", "KUBE-ROUTER-FORWARD"), chain("ip", "filter", "KUBE-POD-FW-3QWZ"), chain("ip", "filter", "KUBE-NWPLCY-TAIL")},
				IPSets: []string{"KUBE-SRC-AB", "KUBE-DST-AB"}},
			want: []string{"kube-router (its policy controller, as k3s contains it): chain KUBE-NWPLCY-TAIL in table ip filter, ipset KUBE-DST-AB"},
		},
		"kube-router, legacy iptables, IPv6": {
			names: Names{IPSets: []string{"inet6:KUBE-SRC-AB"}},
			want:  []string{"kube-router (its policy controller, as k3s contains it): ipset inet6:KUBE-SRC-AB"},
		},
		"kube-router, nftables": {
			names: Names{Chains: []Chain{chain("ip", "kube-router-filter-ipv4", "FORWARD")}},
			want:  []string{"kube-router (its policy controller, as k3s contains it): table ip kube-router-filter-ipv4"},
		},
		"kube-router that only proxies": {names: Names{Chains: []Chain{chain("ip", "filter", "KUBE-ROUTER-SERVICES")}, IPSets: []string{"kube-router-svip"}}},
		"Antrea": {
			names: Names{Chains: []Chain{chain("ip", "filter", "ANTREA-FORWARD")}, IPSets: []string{"ANTREA-POD-IP"}, Links: []string{"antrea-gw0"}},
			want:  []string{"antrea: chain ANTREA-FORWARD in table ip filter, ipset ANTREA-POD-IP, interface antrea-gw0"},
		},
		"Weave": {
			names: Names{Chains: []Chain{chain("ip", "filter", "WEAVE-NPC-DEFAULT"), chain("ip", "filter", "WEAVE-NPC")}, IPSets: []string{"weave-local-pods"}},
			want:  []string{"weave-npc (Weave Net's policy controller): chain WEAVE-NPC in table ip filter, ipset weave-local-pods"},
		},
		"kindnet": {
			names: Names{Chains: []Chain{chain("inet", "kindnet-network-policies", "postrouting")}},
			want:  []string{"kube-network-policies (as kindnet contains it): table inet kindnet-network-policies"},
		},
		"ovn-kubernetes": {
			names: Names{Chains: []Chain{chain("inet", "ovn-kubernetes", "mgmtport-snat")}, Links: []string{"ovn-k8s-mp0"}},
			want:  []string{"ovn-kubernetes: table inet ovn-kubernetes, interface ovn-k8s-mp0"},
		},
		"Azure": {
			names: Names{Chains: []Chain{chain("ip", "filter", "AZURE-NPM-INGRESS")}, IPSets: []string{"azure-npm-1234"}},
			want:  []string{"azure-npm (Azure Network Policy Manager): chain AZURE-NPM-INGRESS in table ip filter, ipset azure-npm-1234"},
		},
		"two of them": {
			names: Names{Chains: []Chain{chain("ip", "filter", "KUBE-POD-FW-A")}, Links: []string{"cilium_host"}},
			want: []string{"cilium: interface cilium_host",
				"kube-router (its policy controller, as k3s contains it): chain KUBE-POD-FW-A in table ip filter"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, f := range Find(c.names) {
				got = append(got, f.String())
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
}

// TestEnginesAreSorted checks order and uniqueness: names are label values, so they must be distinct.
func TestEnginesAreSorted(t *testing.T) {
	e := Engines()
	if !slices.IsSorted(e) || len(slices.Compact(slices.Clone(e))) != len(e) {
		t.Errorf("engines %v", e)
	}
}

// TestSignaturesAreSpecific: a pattern of "*" alone, or an empty one, would match everybody's names.
func TestSignaturesAreSpecific(t *testing.T) {
	for i := range signatures {
		s := &signatures[i]
		all := slices.Concat(s.tables, s.chains, s.ipsets, s.links)
		if len(all) == 0 {
			t.Errorf("%s has no signature", s.engine)
		}
		for _, p := range all {
			if len(strings.TrimSuffix(p, "*")) < 5 || strings.Contains(strings.TrimSuffix(p, "*"), "*") {
				t.Errorf("%s: %q says too little", s.engine, p)
			}
		}
	}
}
