// Package demo shows the agent at work in a real cluster: it applies the example policies one after the other
// and probes who reaches whom, over TCP and UDP, inside a node and across nodes, directly and through Services.
//
// The expected results come from two sources: the test oracle, which works on the objects read back from the API
// server and knows nothing of the agent, and hand-written claims about single connections. The demo only compares
// what it observes with them.
package demo
