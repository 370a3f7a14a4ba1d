// Package deploy puts the agent into a lab's cluster the way users do: the image that "make image" writes, imported
// into every node's containerd, and the chart in charts/netpol-agent, installed with the helm that the repository
// builds. It waits until the agents enforce, and reports their state.
//
// It does not start clusters, and does not judge what the agents enforce.
package deploy
