package main

import (
	"fmt"
	"time"

	"github.com/netpol-agent/netpol-agent/test/bench/cluster"
	"github.com/netpol-agent/netpol-agent/test/bench/control"
	"github.com/netpol-agent/netpol-agent/test/bench/report"
	"github.com/netpol-agent/netpol-agent/test/bench/rules"
	"github.com/netpol-agent/netpol-agent/test/bench/stat"
)

// limits of times.
type limits struct {
	event     map[control.Class]time.Duration
	coldStart time.Duration
}

// limitsOf holds the limits of each backend, for the sizes that are the flags' defaults.
var limitsOf = map[string]limits{
	rules.NFTables: {
		map[control.Class]time.Duration{
			control.RemotePod: 2 * time.Millisecond, control.LocalPod: 4 * time.Millisecond, control.Policy: 5 * time.Millisecond,
		},
		1500 * time.Millisecond,
	},
	rules.Legacy: programLimits,
	rules.IPTNFT: programLimits,
}

// programLimits are for changes that several programs make, one after another.
var programLimits = limits{
	map[control.Class]time.Duration{
		control.RemotePod: 6 * time.Millisecond, control.LocalPod: 40 * time.Millisecond, control.Policy: 40 * time.Millisecond,
	},
	3 * time.Second,
}

func msec(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// times returns a figure of durations.
func times(name string, limit time.Duration, samples []time.Duration) report.Figure {
	return report.Figure{
		Name: name, Unit: report.Msec, Samples: len(samples), Limit: msec(limit),
		Value: msec(stat.Median(samples)), P95: msec(stat.Quantile(samples, 0.95)), Max: msec(stat.Quantile(samples, 1)),
	}
}

func measureMemory(o options, backend string) ([]report.Figure, error) {
	m, err := control.Measure(o.size, backend)
	if err != nil {
		return nil, err
	}
	figure := func(name string, bytes int64, note string) report.Figure {
		return report.Figure{Name: name, Unit: report.MiB, Value: float64(bytes) / (1 << 20), Note: note}
	}
	each := func(bytes int64) string { return fmt.Sprintf("%d bytes a pod", bytes/int64(o.size.Pods)) }
	out := []report.Figure{
		figure("objects in the caches", m.Objects, each(m.Objects)),
		figure("compiled state", m.Compiled, each(m.Compiled)),
		figure("rendered rules, wanted and installed", m.Rendered, each(m.Rendered)),
		figure("resident, whole process", m.Resident, ""),
	}
	for _, f := range []struct {
		name  string
		count func(string) int
	}{
		{"chains", func(f string) int { return m.Installed[f].Chains }},
		{"rules", func(f string) int { return m.Installed[f].Rules }},
		{"sets and maps", func(f string) int { return m.Installed[f].Sets }},
		{"elements", func(f string) int { return m.Installed[f].Elements }},
	} {
		total := 0
		for family := range m.Installed {
			total += f.count(family)
		}
		out = append(out, report.Figure{Name: f.name + " installed", Value: float64(total)})
	}
	return out, nil
}

func measureStart(o options, backend string) ([]report.Figure, error) {
	c, err := cluster.New(o.size)
	if err != nil {
		return nil, err
	}
	var cold, warm, longest []time.Duration
	transactions := 0
	for range o.starts {
		first, second, err := control.Starts(c, backend)
		if err != nil {
			return nil, err
		}
		cold, warm, longest = append(cold, first.Took), append(warm, second.Took), append(longest, first.Longest)
		transactions = first.Transactions
	}
	out := []report.Figure{
		times("cold: full caches to enforced, no rules yet", limitsOf[backend].coldStart, cold),
		times("longest transaction of a cold start", 0, longest),
		times("warm: the rules of a former run are adopted", 0, warm),
	}
	out[0].Note = fmt.Sprintf("%d transactions", transactions)
	if backend != rules.NFTables {
		out[0].Note = fmt.Sprintf("%d programs that write", transactions)
	}
	return out, nil
}

func measureEvents(o options, backend string) ([]report.Figure, error) {
	c, err := cluster.New(o.size)
	if err != nil {
		return nil, err
	}
	samples := o.samples
	if backend != rules.NFTables {
		samples = o.slowSamples
	}
	series, err := control.Events(c, backend, samples, o.pause)
	if err != nil {
		return nil, err
	}
	limits := limitsOf[backend]
	var out []report.Figure
	for _, s := range series {
		out = append(out, times(fmt.Sprintf("%s: %s", s.Class, s.Name), limits.event[s.Class], s.Samples))
	}
	return out, nil
}
