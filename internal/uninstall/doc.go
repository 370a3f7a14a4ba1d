// Package uninstall removes the agent's rules from a cluster: it stops the agents, and runs "netpol-agent cleanup" in a pod
// on every node.
//
// It decides the order, and which nodes are concerned. It does not touch a kernel itself. The order matters: an agent that
// still runs would write its rules again, and an agent that stops must not remove its rules, because it cannot tell an
// uninstallation from an update or a restart.
package uninstall
