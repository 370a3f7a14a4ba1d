// Package lab makes a node, its pods and the rest of the world out of network namespaces of this machine, and sends
// real packets between them.
//
// A lab has one namespace for the node, with a bridge to which its pods are attached by veth pairs, one namespace for
// each pod, and one namespace, "outside", that is everything behind the node's uplink: other nodes, their pods, and
// addresses that belong to nobody in the cluster. Nothing of it has a name in the file system: all ends with the test,
// or with its process.
//
// It decides how packets travel and sees what becomes of them. It does not know policies and installs no rule that
// could drop a packet: its witness only looks, directly before and directly after the place where a policy is enforced.
package lab
