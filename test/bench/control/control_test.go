package control

import (
	"os"
	"testing"

	"github.com/netpol-agent/netpol-agent/test/bench/cluster"
	"github.com/netpol-agent/netpol-agent/test/bench/rules"
)

var small = cluster.Size{Namespaces: 12, Pods: 240, Policies: 120, Local: 24, LocalNamespaces: 8}

// needRoot ends a test that cannot run on this machine. In CI that is a failure.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("needs root to make network namespaces")
	}
	t.Skip("needs root to make network namespaces")
}

func newCluster(t *testing.T) *cluster.Cluster {
	t.Helper()
	c, err := cluster.New(small)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Every event of every kind leads to a transaction; Events fails if one does not.
func TestKernelEventsOfEveryKindWrite(t *testing.T) {
	needRoot(t)
	for _, b := range rules.Backends() {
		t.Run(b, func(t *testing.T) { everyKindWrites(t, b) })
	}
}

func everyKindWrites(t *testing.T, backend string) {
	t.Helper()
	const samples = 12
	series, err := Events(newCluster(t), backend, samples, 0)
	if err != nil {
		t.Fatal(err)
	}
	classes := map[Class]int{}
	for _, s := range series {
		classes[s.Class]++
		if len(s.Samples) != samples {
			t.Errorf("%s: %d samples", s.Name, len(s.Samples))
		}
		for _, d := range s.Samples {
			if d <= 0 {
				t.Errorf("%s took %s", s.Name, d)
			}
		}
	}
	for _, c := range []Class{RemotePod, LocalPod, Policy} {
		if classes[c] == 0 {
			t.Errorf("no event of class %q", c)
		}
	}
}

func TestKernelSecondStartAdoptsTheRules(t *testing.T) {
	needRoot(t)
	for _, b := range rules.Backends() {
		t.Run(b, func(t *testing.T) { secondStartAdopts(t, b) })
	}
}

func secondStartAdopts(t *testing.T, backend string) {
	t.Helper()
	cold, warm, err := Starts(newCluster(t), backend)
	if err != nil {
		t.Fatal(err)
	}
	if cold.Transactions == 0 || cold.Took <= 0 || cold.Longest > cold.Took {
		t.Errorf("cold start: %+v", cold)
	}
	if warm.Transactions != 0 || warm.Took <= 0 {
		t.Errorf("warm start: %+v", warm)
	}
}

func TestKernelMemoryOfEachLayer(t *testing.T) {
	needRoot(t)
	for _, b := range rules.Backends() {
		t.Run(b, func(t *testing.T) { eachLayer(t, b) })
	}
}

func eachLayer(t *testing.T, backend string) {
	t.Helper()
	m, err := Measure(small, backend)
	if err != nil {
		t.Fatal(err)
	}
	if m.Objects <= 0 || m.Compiled <= 0 || m.Rendered <= 0 || m.Resident < m.Objects+m.Compiled+m.Rendered {
		t.Errorf("%+v", m)
	}
	if m.Installed["ipv4"].Elements == 0 || m.Installed["ipv4"].Chains+m.Installed["inet"].Chains == 0 {
		t.Errorf("installed: %+v", m.Installed)
	}
}
