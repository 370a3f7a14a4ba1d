// Package conformance runs suites of tests that others wrote, unmodified, against the agent on a real cluster, and
// keeps a report of each run.
//
// What is right is decided by the suites. The package decides which of their cases this machine's kernel can run,
// and whether the whole passed: every case that was run did, there were any, and the agents lived through it.
package conformance
