// Package sync is the running agent. It connects the rooms below it, which do not know each other, and starts and stops
// them together:
//
//	source   what the agent follows: the kinds of objects, their informers, what the node reports
//	engine   when updates are compiled and written
//	node     the node's addresses and bridges, and other policy engines on it
//	report   health, metrics, Events, status
//
// The flow of one update:
//
//	informers ──┐                     ┌─> backend: one transaction
//	addresses ──┼─> Queue ─> Engine ──┼─> conntrack cutter, bridge monitor (after a commit)
//	bridges ────┘                     └─> Events, metrics, health
//
// It decides in which order the agent starts and stops, and who hears of what. It does not decide when something is
// written (engine), who is isolated (package compiler), or how that looks in the kernel (package render).
package sync
