// Package traffic keeps streams going between network namespaces and says what came of each: how much was sent,
// what arrived at the other end, and what was lost on the way. Several kinds of stream, because a firewall treats
// them differently: new TCP connections, new UDP flows, and a TCP connection that lives on.
//
// What ought to arrive is said with each stream. Policies and agents are the caller's.
package traffic
