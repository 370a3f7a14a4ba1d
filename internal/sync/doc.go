// Package sync is the running agent: it brings the cluster's objects to the compiler and the compiler's
// program to the kernel, and says how that goes.
//
// It decides when something is done: when the first rules may be written, what is taken together in one
// transaction, when a failed one is tried again, when kernel and program are compared, whether the agent is
// alive and ready, and what is told to whom (log, metrics, Events, status). It does not decide who is
// isolated or what a rule means (package compiler) nor how that looks in the kernel (package render).
//
// One goroutine, the engine's, owns compiler and backend, so that neither has a lock. Everything else feeds
// it: informers and address watchers through a Queue that keeps the latest state of each object, all others
// through Engine.Do.
//
//	informers ─┐                     ┌─> Backend: one transaction
//	addresses ─┴─> Queue ─> Engine ──┼─> conntrack cutter, bridge check (after a commit)
//	status, flows to judge ─> Do ──┘ └─> Events, metrics, health
package sync
