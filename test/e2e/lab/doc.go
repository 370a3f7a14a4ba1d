// Package lab is a real Kubernetes cluster with Flannel on one Linux machine: a control plane and some nodes,
// each in namespaces of its own. It starts and ends the cluster, says what is missing when that fails, and lets
// others run commands and processes on its nodes.
//
// What runs on the cluster, and what ought to come of it, is decided by those who use it.
package lab
