package main

import (
	"fmt"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/netpol-agent/netpol-agent/test/bench/cluster"
	"github.com/netpol-agent/netpol-agent/test/bench/control"
	"github.com/netpol-agent/netpol-agent/test/bench/datapath"
	"github.com/netpol-agent/netpol-agent/test/bench/report"
	"github.com/netpol-agent/netpol-agent/test/bench/rules"
)

// Limits of what the rules may cost packets. What they are held against is in baselines.
const (
	// limitConnect and limitConnectIPT are for a new TCP connection.
	limitConnect    = 1.06
	limitConnectIPT = 1.10
	// limitGrowth is for that by the same rules in a cluster with few policies.
	limitGrowth = 1.03
	// limitEstablished is for connections that are known.
	limitEstablished = 1.03
)

// baselines says what ratios are by.
var baselines = []string{
	"no rules: a router that follows connections, without any chain at a hook, of nftables or of iptables",
	"empty chain: the same with the backend's chain at the hook forward, without a rule, as other components of a node leave it",
}

// noRules is the index of the alternative that all others are held against.
const noRules = 0

// compared is what a backend is compared in, as indexes of alternatives.
type compared struct{ empty, few, all int }

func measureKernel(o options, _ string) ([]report.Figure, error) {
	c, err := cluster.New(o.size)
	if err != nil {
		return nil, err
	}
	alternatives := []datapath.Alternative{noRules: {Name: "no rules", Load: func(*datapath.Path) error { return nil }}}
	add := func(a datapath.Alternative) int {
		alternatives = append(alternatives, a)
		return len(alternatives) - 1
	}
	of := map[string]compared{}
	for _, b := range o.backends {
		of[b] = compared{
			empty: add(datapath.Alternative{Name: b + ": empty chain", Load: func(p *datapath.Path) error { return p.Hook(b) }}),
			few:   add(enforce(c, b, c.HomePolicies())),
			all:   add(enforce(c, b, c.Policies)),
		}
	}
	results, err := datapath.Compare(datapath.Plan{
		Alternatives: alternatives,
		Client:       cluster.AddrOf(c.HomeClient()), Server: cluster.AddrOf(c.HomeServer()),
		TCPPort: cluster.HomePort, UDPPort: cluster.HomeUDPPort, ClosedPort: cluster.HomeClosedPort,
		Trials: o.trials, Rounds: o.rounds, Batch: o.batch,
	})
	if err != nil {
		return nil, err
	}
	return kernelFigures(o.backends, results, of, len(c.HomePolicies()), len(c.Policies)), nil
}

// enforce makes the alternative with a backend's rules of a cluster that has certain policies.
func enforce(c *cluster.Cluster, backend string, policies []*networkingv1.NetworkPolicy) datapath.Alternative {
	with := *c
	with.Policies = policies
	prog := control.Compile(&with).Program()
	return datapath.Alternative{
		Name:   fmt.Sprintf("%s: %d policies", backend, len(policies)),
		Load:   func(p *datapath.Path) error { return p.Enforce(backend, prog) },
		Closed: true,
	}
}

func kernelFigures(backends []string, results map[datapath.Kind][]datapath.Result, of map[string]compared, few, all int) []report.Figure {
	var out []report.Figure
	for _, k := range datapath.Kinds() {
		r := results[k]
		out = append(out, report.Figure{Name: fmt.Sprintf("%s, no rules", k), Unit: report.Usec, Value: r[noRules].Typical * 1e6})
		for _, row := range []struct {
			name  string
			ratio func(compared) datapath.Ratio
			limit func(k datapath.Kind, backend string) float64
		}{
			{"empty chain / no rules", func(c compared) datapath.Ratio { return r[c.empty].Ratios[noRules] }, noLimit},
			{fmt.Sprintf("%d policies / no rules", few), func(c compared) datapath.Ratio { return r[c.few].Ratios[noRules] }, ofRules},
			{fmt.Sprintf("%d policies / no rules", all), func(c compared) datapath.Ratio { return r[c.all].Ratios[noRules] }, ofRules},
			{fmt.Sprintf("%d policies / %d policies", all, few), func(c compared) datapath.Ratio { return r[c.all].Ratios[c.few] }, ofGrowth},
			{fmt.Sprintf("%d policies / empty chain", all), func(c compared) datapath.Ratio { return r[c.all].Ratios[c.empty] }, ofEmpty},
		} {
			for _, b := range backends {
				f := ratioFigure(fmt.Sprintf("%s: %s", k, row.name), row.limit(k, b), row.ratio(of[b]))
				f.Backend = b
				out = append(out, f)
			}
		}
	}
	return out
}

func noLimit(datapath.Kind, string) float64 { return 0 }

// ofRules limits rules by no rules.
func ofRules(k datapath.Kind, backend string) float64 {
	switch {
	case k == datapath.TCP && backend == rules.NFTables:
		return limitConnect
	case k == datapath.TCP:
		return limitConnectIPT
	case k == datapath.Exchange:
		return limitEstablished
	}
	return 0
}

func ofGrowth(k datapath.Kind, _ string) float64 {
	if k == datapath.TCP {
		return limitGrowth
	}
	return 0
}

// ofEmpty limits rules by an empty chain.
func ofEmpty(k datapath.Kind, _ string) float64 {
	if slices.Contains([]datapath.Kind{datapath.Established, datapath.Exchange}, k) {
		return limitEstablished
	}
	return 0
}

func ratioFigure(name string, limit float64, r datapath.Ratio) report.Figure {
	return report.Figure{
		Name: name, Unit: report.Ratio, Limit: limit, Value: r.Value, Samples: r.Rounds,
		Note: fmt.Sprintf("%.4f to %.4f", r.Low, r.High),
	}
}
