// Package conformance runs third-party test suites, unmodified, against the agent on a real cluster, and writes a
// report of each run.
//
// The suites decide what is correct. The package decides which of their cases this machine's kernel can run, and
// whether a run passed: at least one case ran, every case that ran passed, and the agents survived.
package conformance
