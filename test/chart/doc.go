// Package chart tests the Helm chart without a cluster: what it renders, what it refuses, and that the manifest
// for "kubectl apply" is the chart's.
package chart
