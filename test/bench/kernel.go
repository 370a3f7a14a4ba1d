package main

import (
	"fmt"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/test/bench/cluster"
	"github.com/netpol-agent/netpol-agent/test/bench/control"
	"github.com/netpol-agent/netpol-agent/test/bench/datapath"
	"github.com/netpol-agent/netpol-agent/test/bench/report"
)

// Limits of what the rules may cost a new TCP connection.
const (
	// limitConnect is by a router that follows connections and has no rules.
	limitConnect = 1.06
	// limitGrowth is by the same rules in a cluster with few policies.
	limitGrowth = 1.03
)

// Alternatives that are compared, by index.
const (
	noRules = iota
	establishedOnly
	fewPolicies
	allPolicies
)

func measureKernel(o options) ([]report.Figure, error) {
	c, err := cluster.New(o.size)
	if err != nil {
		return nil, err
	}
	all, home := c.Policies, c.HomePolicies()
	nothing := func(*datapath.Path) error { return nil }
	results, err := datapath.Compare(datapath.Plan{
		Alternatives: []datapath.Alternative{
			noRules:         {Name: "no rules", Load: nothing, Unload: nothing},
			establishedOnly: {Name: "known connections pass", Load: (*datapath.Path).LoadEstablished, Unload: (*datapath.Path).UnloadEstablished},
			fewPolicies:     enforce(c, home),
			allPolicies:     enforce(c, all),
		},
		Client: cluster.AddrOf(c.HomeClient()), Server: cluster.AddrOf(c.HomeServer()),
		TCPPort: cluster.HomePort, UDPPort: cluster.HomeUDPPort, ClosedPort: cluster.HomeClosedPort,
		Rounds: o.rounds, Batch: o.batch,
	})
	if err != nil {
		return nil, err
	}
	return kernelFigures(results, len(home), len(all)), nil
}

// enforce makes the alternative with the rules of a cluster that has certain policies.
func enforce(c *cluster.Cluster, policies []*networkingv1.NetworkPolicy) datapath.Alternative {
	with := *c
	with.Policies = policies
	prog := control.Compile(&with).Program()
	return datapath.Alternative{
		Name:   fmt.Sprintf("%d policies", len(policies)),
		Load:   func(p *datapath.Path) error { return p.Load(prog) },
		Unload: func(p *datapath.Path) error { return p.Load((*program.Program)(nil)) },
		Closed: true,
	}
}

func kernelFigures(results map[datapath.Kind][]datapath.Result, few, all int) []report.Figure {
	var out []report.Figure
	for _, k := range datapath.Kinds() {
		r := results[k]
		limit, growth := 0.0, 0.0
		if k == datapath.TCP {
			limit, growth = limitConnect, limitGrowth
		}
		out = append(out,
			report.Figure{Name: fmt.Sprintf("%s, no rules", k), Unit: report.Usec, Value: r[noRules].Typical * 1e6},
			ratioFigure(fmt.Sprintf("%s: known connections pass / no rules", k), 0, r[establishedOnly].Ratios[noRules]),
			ratioFigure(fmt.Sprintf("%s: %d policies / no rules", k, few), limit, r[fewPolicies].Ratios[noRules]),
			ratioFigure(fmt.Sprintf("%s: %d policies / no rules", k, all), limit, r[allPolicies].Ratios[noRules]),
			ratioFigure(fmt.Sprintf("%s: %d policies / %d policies", k, all, few), growth, r[allPolicies].Ratios[fewPolicies]),
		)
	}
	return out
}

func ratioFigure(name string, limit float64, r datapath.Ratio) report.Figure {
	return report.Figure{
		Name: name, Unit: report.Ratio, Limit: limit, Value: r.Value, Samples: r.Rounds,
		Note: fmt.Sprintf("%.4f to %.4f", r.Low, r.High),
	}
}
