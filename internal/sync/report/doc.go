// Package report holds what the agent tells about itself: whether it is alive and ready (Health), its metrics, its
// Kubernetes Events, its status, and what it could not remove from the node (Leftovers).
//
// It does not decide what the agent does: the engine and the node's monitors say what has happened, and nothing here
// has an effect on them. It imports neither.
package report
