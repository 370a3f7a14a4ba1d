// Package monitoring tests what the chart provides for Prometheus and Grafana: the alert rules with promtool, the
// dashboard's form, and, in a real cluster with a real Prometheus, that metrics, rules and dashboard fit together.
// The test in the cluster has the build tag e2e and needs root; "make monitoring-test" runs it.
//
// What each metric means is defined in internal/sync/report; here it is only compared with what a cluster shows.
package monitoring
