// Package traffic keeps streams running between network namespaces and reports on each: how much was sent, what
// arrived at the other end, and what was lost on the way. There are several kinds of stream, because a firewall
// treats them differently: new TCP connections, new UDP flows, and a TCP connection that stays open.
//
// Each stream says what should arrive. The caller installs the policies and agents.
package traffic
