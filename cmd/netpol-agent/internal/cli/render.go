package cli

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/netpol-agent/netpol-agent/internal/render/backend"
)

func newRender() *cobra.Command {
	var files fileFlags
	var node string
	var name *choice
	cmd := &cobra.Command{
		Use:   "render -f FILE|DIR|- ... --node NAME",
		Short: "Show the rules that the agent would write on a node, from files",
		Long: `render reads Pods, Namespaces and NetworkPolicies and prints the rules that the agent would keep on the node. The same
objects always give the same text, so the output can be compared and reviewed. By default it is an nftables table that
"nft -c -f" accepts. With --backend=iptables it is, for each IP family, sets for "ipset restore" and chains for
"iptables-restore".

A pod runs on the node that spec.nodeName names and has the addresses in status.podIPs; the output of
"kubectl get -o yaml" has both. Of a directory, all *.yaml, *.yml and *.json files in it and below it are read.

Files are read strictly: a field that is unknown, given twice or of the wrong type is an error, reported with its
place. The other documents are still rendered, but the exit status is 1. A part of a policy that is well-formed but
makes no sense is reported as "not understood": it matches nothing, and the policy still isolates its pods.`,
		Example: `  # the rules of worker-1 for the policies of a directory
  netpol-agent render --node worker-1 -f policies/ -f pods.yaml

  # the same for what a cluster holds now
  kubectl get pods,namespaces,networkpolicies -A -o yaml | netpol-agent render --node worker-1 -f -

  # what a changed policy would change in the kernel
  diff <(netpol-agent render --node worker-1 -f old/) <(netpol-agent render --node worker-1 -f new/)`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runRender(cmd, &files, node, name.value) },
	}
	files.add(cmd, "file or directory with Kubernetes objects, - for standard input; may be repeated")
	cmd.Flags().StringVar(&node, "node", "", "name of the node")
	complete(cmd, "node")
	name = choiceFlag(cmd, "backend", "", "backend whose rules to show", backend.NFTables, backend.IPTables)
	return cmd
}

func runRender(cmd *cobra.Command, files *fileFlags, node, name string) error {
	switch {
	case len(files.paths) == 0:
		return usagef("-f is missing: give a file or directory to read")
	case node == "":
		return usagef("--node is missing: give the name of a node")
	}
	objs, err := files.load(cmd)
	if err != nil {
		return err
	}
	if known := objs.nodeNames(); !slices.Contains(known, node) {
		return unknownNode(node, known)
	}
	c := objs.compile(node)
	objs.tellDiagnostics(cmd, c.Diagnostics())
	if _, err := io.WriteString(cmd.OutOrStdout(), backend.Render(name, c.Program())); err != nil {
		return err
	}
	return objs.incomplete()
}

// nodeNames returns the names of the nodes that have an object or run a pod.
func (o *objects) nodeNames() []string {
	var names []string
	for _, n := range o.nodes {
		names = append(names, n.Name)
	}
	for _, p := range o.pods {
		if p.Spec.NodeName != "" {
			names = append(names, p.Spec.NodeName)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// unknownNode names some of the nodes that exist, because the usual cause is a typing error.
func unknownNode(node string, known []string) error {
	if len(known) == 0 {
		return errors.New("the files name no node: they have no Node object, and no pod with spec.nodeName")
	}
	const shown = 10
	more := ""
	if len(known) > shown {
		more = fmt.Sprintf(" and %d more", len(known)-shown)
	}
	list := orList(known[:min(len(known), shown)])
	return fmt.Errorf("no node %q in the files: use %s", node, list+more)
}
