package conformance

import (
	"fmt"
	"slices"
	"strings"

	"github.com/netpol-agent/netpol-agent/test/e2e/lab"
)

// DefaultStateDir is the state directory of the suites' cluster, which is not that of the demo.
const DefaultStateDir = "/var/lib/netpol-agent-conformance"

// Backends of the agent.
const (
	backendNFTables = "nftables"
	// backendIPTables detects the variant that the nodes use. The other two name it.
	backendIPTables = "iptables"
	backendLegacy   = "iptables-legacy"
	backendIPTNFT   = "iptables-nft"
)

// Options selects the suite and the cluster.
type Options struct {
	// Suite is the name of one of Suites.
	Suite string
	// Include lists tags of Cyclonus. If there are any, only cases that have one of them run.
	Include []string
	// Procs is how many specs of the upstream suite run at a time.
	Procs int
	// Clusters is how many clusters share the cases of Cyclonus.
	Clusters int
	// Backend is the agent's backend, one of Backends.
	Backend string
	// Runs is how often the suite runs on one cluster. From the second run on, the cluster is a used one.
	Runs int
	// Lab is the cluster to start.
	Lab lab.Options
	// Keep leaves the cluster up.
	Keep bool
	// Results is the folder of the reports.
	Results string
}

// DefaultOptions returns options for one run of the upstream suite on the lab's default cluster.
func DefaultOptions() Options {
	return Options{Suite: upstreamName, Procs: 6, Clusters: 3, Backend: backendNFTables, Runs: 1, Lab: lab.DefaultOptions()}
}

// Suites returns the names of the suites.
func Suites() []string {
	var names []string
	for _, s := range suites(Options{}) {
		names = append(names, s.name())
	}
	return names
}

// Backends returns the names of the agent's backends.
func Backends() []string {
	return []string{backendNFTables, backendIPTables, backendLegacy, backendIPTNFT}
}

// Validate returns an error that names the first invalid option.
func (o Options) Validate() error {
	for _, c := range []struct {
		what, value string
		known       []string
	}{
		{"suite", o.Suite, Suites()},
		{"backend", o.Backend, Backends()},
		{"IP family", o.Lab.IPFamily, lab.IPFamilies()},
	} {
		if !slices.Contains(c.known, c.value) {
			return fmt.Errorf("%s %q: want %s", c.what, c.value, strings.Join(c.known, " or "))
		}
	}
	if len(o.Include) > 0 && o.Suite == upstreamName {
		return fmt.Errorf("the suite %s always runs all of its cases: only those of %s can be selected by tag", o.Suite, cyclonusName)
	}
	for what, number := range map[string]int{"procs": o.Procs, "clusters": o.Clusters, "runs": o.Runs} {
		if number < 1 {
			return fmt.Errorf("%s: want 1 or more, got %d", what, number)
		}
	}
	return o.Lab.Validate()
}

// name is the base name of the report's files. Each combination has its own.
func (o Options) name() string {
	suite := strings.Join(append([]string{o.Suite}, o.Include...), "-")
	return suite + "_" + o.combination()
}

func (o Options) combination() string {
	return strings.Join([]string{o.Backend, o.Lab.IPFamily, "proxy-" + o.Lab.ProxyMode, o.Lab.FlannelBackend}, "_")
}
