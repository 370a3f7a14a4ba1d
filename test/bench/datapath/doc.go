// Package datapath measures what rules cost the first packets of a connection.
//
// A Path is a client, a router and a server in a row, each in a network namespace of its own. Only the router has
// netfilter rules; it follows connections in any case. Paths differ only in their rules, so the time of a connect on
// one path divided by that on another is what the rules cost. Client and server do nothing else: on a real connection,
// which carries data and is served by somebody, the relative cost is lower.
//
// One thread does everything. On one CPU the kernel carries a handshake through all three namespaces inside the connect
// call, so nobody waits for anybody, and the time of the call is the time of the work.
package datapath
