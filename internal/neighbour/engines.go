package neighbour

// Engine is the name of a kind of policy engine in metrics and messages.
type Engine string

// The engines that leave a trace in a node's network namespace.
const (
	Antrea              Engine = "antrea"
	AzureNPM            Engine = "azure-npm"
	Calico              Engine = "calico"
	Cilium              Engine = "cilium"
	KubeNetworkPolicies Engine = "kube-network-policies"
	KubeRouter          Engine = "kube-router"
	OVNKubernetes       Engine = "ovn-kubernetes"
	Weave               Engine = "weave-npc"
)

// signature is the names by which an engine is recognised. Every list holds whole names, or prefixes that end in "*".
type signature struct {
	engine Engine
	// says is what else an operator may know the engine by.
	says string
	// tables are nftables tables of the engine's own, in any family.
	tables []string
	// chains are chains in any table, including those that iptables-nft creates in ip filter and ip6 filter.
	chains []string
	// ipsets also reveal engines whose chains are in legacy iptables, which returns chain names only in a copy of the
	// whole table.
	ipsets []string
	links  []string
}

// signatures holds names that only an enforcing engine creates. It omits what a network plugin creates without enforcing
// anything (Weave's bridge, kube-router's service chains), and what others use as well: "lxc*" is Cilium's, but also LXC's.
var signatures = []signature{
	{
		// https://github.com/antrea-io/antrea/blob/main/pkg/agent/route/route_linux.go (chains, ipsets),
		// pkg/agent/util/nftables/nftables.go (table), cmd/antrea-agent/options.go (gateway interface).
		engine: Antrea, tables: []string{"antrea"}, chains: []string{"ANTREA-*"}, ipsets: []string{"ANTREA-*"},
		links: []string{"antrea-gw0"},
	},
	{
		// https://github.com/Azure/azure-container-networking/blob/master/npm/util/const.go
		engine: AzureNPM, says: "Azure Network Policy Manager", chains: []string{"AZURE-NPM*"}, ipsets: []string{"azure-npm-*"},
	},
	{
		// https://github.com/projectcalico/calico/blob/master/felix/rules/rule_defs.go (chains),
		// felix/ipsets/ipset_defs.go (ipsets: "cali" and the family), felix/dataplane/linux/int_dataplane.go (table),
		// felix/dataplane/linux/dataplanedefs/dataplane_defs.go (interfaces of the eBPF data plane).
		engine: Calico, says: "Calico's Felix, as in Canal", tables: []string{"calico"}, chains: []string{"cali-*"},
		ipsets: []string{"cali4*", "cali6*"}, links: []string{"bpfin.cali", "bpfout.cali"},
	},
	{
		// https://github.com/cilium/cilium/blob/main/pkg/datapath/iptables/iptables.go (chains; the old ones of a
		// restart begin with OLD_), pkg/datapath/iptables/ipset/ipset.go, pkg/defaults/node.go (interfaces).
		engine: Cilium, chains: []string{"CILIUM_*", "OLD_CILIUM_*"}, ipsets: []string{"cilium_node_set_*"},
		links: []string{"cilium_host", "cilium_net"},
	},
	{
		// https://github.com/kubernetes-sigs/kube-network-policies/blob/main/pkg/dataplane/controller.go; the other
		// name is kindnet's, which contains it: https://github.com/aojea/kindnet/blob/main/cmd/kindnetd/main.go
		engine: KubeNetworkPolicies, says: "as kindnet contains it",
		tables: []string{"kube-network-policies", "kindnet-network-policies"},
	},
	{
		// https://github.com/cloudnativelabs/kube-router/blob/master/pkg/controllers/netpol/network_policy_controller.go
		// (chains, ipsets) and npc_nftables.go (tables). k3s contains the controller:
		// https://github.com/k3s-io/k3s/blob/master/pkg/agent/netpol/netpol.go
		engine: KubeRouter, says: "its policy controller, as k3s contains it",
		tables: []string{"kube-router-filter-ipv4", "kube-router-filter-ipv6"},
		chains: []string{"KUBE-ROUTER-INPUT", "KUBE-ROUTER-FORWARD", "KUBE-ROUTER-OUTPUT", "KUBE-POD-FW-*", "KUBE-NWPLCY-*"},
		// The second of each pair is that of IPv6.
		ipsets: []string{"KUBE-SRC-*", "inet6:KUBE-SRC-*", "KUBE-DST-*", "inet6:KUBE-DST-*", "kube-router-local-pods", "inet6:kube-router-local-pods"},
	},
	{
		// https://github.com/ovn-kubernetes/ovn-kubernetes/blob/master/go-controller/pkg/node/nftables/helpers.go (table),
		// go-controller/pkg/types/const.go (interface).
		engine: OVNKubernetes, tables: []string{"ovn-kubernetes"}, links: []string{"ovn-k8s-mp0"},
	},
	{
		// https://github.com/weaveworks/weave/blob/master/common/chains/npc.go, npc/constants.go
		engine: Weave, says: "Weave Net's policy controller", chains: []string{"WEAVE-NPC*"}, ipsets: []string{"weave-*"},
	},
}

// Engines lists all known engines.
func Engines() []Engine {
	out := make([]Engine, len(signatures))
	for i := range signatures {
		out[i] = signatures[i].engine
	}
	return out
}
