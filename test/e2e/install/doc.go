// Package install tests what users install, in a real cluster: the image that "make image" writes, through the chart
// in charts/netpol-agent. The tests have the build tag e2e and need root; "make install-test" runs them.
//
// What policies mean is tested elsewhere; here one policy shows that the installed agent enforces at all.
package install
