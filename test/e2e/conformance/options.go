package conformance

import (
	"fmt"
	"slices"
	"strings"

	"github.com/netpol-agent/netpol-agent/test/e2e/lab"
)

// DefaultStateDir is where the cluster of the suites keeps its files: it is not the one of the demo.
const DefaultStateDir = "/var/lib/netpol-agent-conformance"

// What the agent can render to.
const (
	backendNFTables = "nftables"
	// backendIPTables finds out which variant the nodes use; the other two name it.
	backendIPTables = "iptables"
	backendLegacy   = "iptables-legacy"
	backendIPTNFT   = "iptables-nft"
)

// Options says what to run on what.
type Options struct {
	// Suite is the name of one of Suites.
	Suite string
	// Include are tags of Cyclonus: with any, only cases that have one of them are run.
	Include []string
	// Procs is how many specs of the upstream suite run at a time.
	Procs int
	// Clusters is how many clusters share the cases of Cyclonus.
	Clusters int
	// Backend is what the agent renders to, one of Backends.
	Backend string
	// Runs is how often the suite runs on one cluster. From the second time on the cluster is a used one.
	Runs int
	// Lab is the cluster to start.
	Lab lab.Options
	// Keep leaves the cluster up.
	Keep bool
	// Results is the folder of the reports.
	Results string
}

// DefaultOptions are the upstream suite on the lab's default cluster, once.
func DefaultOptions() Options {
	return Options{Suite: upstreamName, Procs: 6, Clusters: 3, Backend: backendNFTables, Runs: 1, Lab: lab.DefaultOptions()}
}

// Suites are the names of the suites.
func Suites() []string {
	var names []string
	for _, s := range suites(Options{}) {
		names = append(names, s.name())
	}
	return names
}

// Backends are what the agent can render to.
func Backends() []string {
	return []string{backendNFTables, backendIPTables, backendLegacy, backendIPTNFT}
}

// Validate names the first option that cannot be.
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
		return fmt.Errorf("the suite %s runs as a whole: only %s can be told what to include", o.Suite, cyclonusName)
	}
	for what, number := range map[string]int{"procs": o.Procs, "clusters": o.Clusters, "runs": o.Runs} {
		if number < 1 {
			return fmt.Errorf("%s: want 1 or more, got %d", what, number)
		}
	}
	return o.Lab.Validate()
}

// name is what the reports' files are named after: one for each combination.
func (o Options) name() string {
	suite := strings.Join(append([]string{o.Suite}, o.Include...), "-")
	return suite + "_" + o.combination()
}

func (o Options) combination() string {
	return strings.Join([]string{o.Backend, o.Lab.IPFamily, "proxy-" + o.Lab.ProxyMode, o.Lab.FlannelBackend}, "_")
}
