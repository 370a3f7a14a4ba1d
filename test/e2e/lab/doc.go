// Package lab is a real Kubernetes cluster with Flannel on one Linux machine: a control plane and some nodes, each
// in namespaces of its own. It starts and stops the cluster, says what is missing when that fails, and runs
// commands and processes on its nodes for callers.
//
// Callers decide what runs on the cluster and what the result should be.
package lab
