// Package node watches what the engine must know of the node itself: its addresses, the bridges that its pods are
// attached to, whether bridged packets reach the rules, and whether another policy engine has rules here.
//
// It does not decide what follows from its findings: each monitor passes them to functions of its creator.
package node
