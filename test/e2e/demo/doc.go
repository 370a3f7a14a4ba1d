// Package demo shows the agent at work in a real cluster: it applies the example policies one after the other
// and probes who reaches whom, over TCP and UDP, inside a node and across nodes, directly and through Services.
//
// What ought to come of it is said twice: by the test oracle, which reads the objects back from the API server
// and knows nothing of the agent, and by claims about single connections that a person wrote down. The demo
// decides whether what was observed is that, and nothing else.
package demo
