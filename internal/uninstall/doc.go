// Package uninstall takes the agent's rules off a cluster: it ends the agents, and has the rules removed on every
// node by a pod that runs "netpol-agent cleanup" there.
//
// It decides the order, and which nodes are concerned; it touches no kernel itself. The order matters: an agent
// that still runs would write its rules again, and the end of an agent alone must remove nothing, because an
// update or a restart looks the same.
package uninstall
