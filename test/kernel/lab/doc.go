// Package lab builds a node, its pods and the rest of the world out of network namespaces of this machine, and sends
// real packets between them.
//
// A lab has one namespace for the node, with a bridge to which its pods are attached by veth pairs, one namespace for
// each pod, and one namespace, "outside", for everything behind the node's uplink: other nodes, their pods, and
// addresses that belong to nobody in the cluster. None of it has a name in the file system: everything ends with the
// test, or with its process.
//
// Package lab decides how packets travel and observes what happens to them. It does not know policies and installs no
// rule that could drop a packet: its witness only looks, directly before and directly after the place where a policy is
// enforced.
package lab
