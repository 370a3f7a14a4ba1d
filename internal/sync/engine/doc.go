// Package engine brings updates to the compiler, and the compiler's program to the kernel.
//
// It decides when that is done: when the first rules may be written, which updates share a transaction, when a failed
// transaction is tried again, and when kernel and program are compared. It does not decide who is isolated or what a
// rule means (package compiler), how that looks in the kernel (package render), or where updates come from.
//
// One goroutine, that of Engine.Run, owns compiler and backend, so that neither has a lock. Updates reach it through a
// Queue that keeps the latest state of each object. Everything else runs between two transactions, through methods of
// Engine that take a context.
package engine
