// Package cluster creates the cluster that the benchmarks measure: namespaces, pods and policies of the sizes and
// shapes that users have. The same Size produces the same objects, so that two runs can be compared.
//
// It does not decide what is measured or how.
package cluster
