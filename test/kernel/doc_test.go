// Package kernel holds the tests that send real packets through real rules: each row of the policy semantics that a
// packet can show, random policies and packets, Services, connections that live while policies change, and thousands of
// changes under traffic.
//
// Every packet is judged four times: by the oracle from the objects, by the evaluator from the rule program, by the
// trace from the ruleset, and by the kernel. All four must agree with the test.
package kernel
