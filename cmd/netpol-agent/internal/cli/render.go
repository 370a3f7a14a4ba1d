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
		Short: "Show the rules that files of Kubernetes objects amount to on a node",
		Long: `render reads Pods, Namespaces and NetworkPolicies and writes the rules that the agent would keep on the node:
the same objects always give the same text, so it can be compared and reviewed. By default that is an nftables table,
which "nft -c -f" accepts. With --backend=iptables it is, for each IP family, the sets in the language of
"ipset restore" and the chains in that of "iptables-restore".

Pods count as running on the node that spec.nodeName names, with the addresses in status.podIPs; the output of
"kubectl get -o yaml" has both. Directories are read with all *.yaml, *.yml and *.json files below them.

Files are read strictly: a field that does not exist, or stands twice, or has the wrong type, is an error with its
place. Documents without errors are rendered all the same, but the exit status is 1. Parts of a policy that are
well-formed but make no sense are told as "not understood"; they match nothing, and the policy still isolates.`,
		Example: `  # the rules of worker-1 for the policies of a directory
  netpol-agent render --node worker-1 -f policies/ -f pods.yaml

  # the same for what a cluster holds now
  kubectl get pods,namespaces,networkpolicies -A -o yaml | netpol-agent render --node worker-1 -f -

  # what a change to a policy would change in the kernel
  diff <(netpol-agent render --node worker-1 -f old/) <(netpol-agent render --node worker-1 -f new/)`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runRender(cmd, &files, node, name.value) },
	}
	files.add(cmd, "file or directory with Kubernetes objects, - for standard input; may be repeated")
	cmd.Flags().StringVar(&node, "node", "", "name of the node")
	complete(cmd, "node")
	name = choiceFlag(cmd, "backend", "", "whose rules to show", backend.NFTables, backend.IPTables)
	return cmd
}

func runRender(cmd *cobra.Command, files *fileFlags, node, name string) error {
	switch {
	case len(files.paths) == 0:
		return usagef("nothing to read: give a file or directory with -f")
	case node == "":
		return usagef("give the node's name with --node")
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

// nodeNames lists the nodes that are given as objects or that pods run on.
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

// unknownNode lists the nodes there are, a few at least, since the usual cause is a slip of the pen.
func unknownNode(node string, known []string) error {
	if len(known) == 0 {
		return errors.New("no pod in the files runs on a node (spec.nodeName), nor is there a Node object")
	}
	const shown = 10
	more := ""
	if len(known) > shown {
		more = fmt.Sprintf(" and %d more", len(known)-shown)
	}
	list := orList(known[:min(len(known), shown)])
	return fmt.Errorf("no node %q in the files; there is %s", node, list+more)
}
