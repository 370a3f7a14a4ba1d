package main

import (
	"fmt"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/netpol-agent/netpol-agent/test/bench/cluster"
	"github.com/netpol-agent/netpol-agent/test/bench/control"
	"github.com/netpol-agent/netpol-agent/test/bench/datapath"
	"github.com/netpol-agent/netpol-agent/test/bench/report"
	"github.com/netpol-agent/netpol-agent/test/bench/rules"
)

// Limits of what the rules may cost packets. baselines names what they are compared with.
const (
	// limitConnect and limitConnectIPT are for a new TCP connection.
	limitConnect    = 1.06
	limitConnectIPT = 1.10
	// limitGrowth is for a new TCP connection, relative to the same rules in a cluster with few policies.
	limitGrowth = 1.03
	// limitEstablished is for known connections: a request and its answer relative to no rules, and a single datagram
	// relative to an empty chain. Any chain at a hook costs a datagram 1.5 % over no rules. That is not the fault of the
	// rules.
	limitEstablished = 1.03
	// limitEstablishedNFT is for the request and its answer with the nft variant: there the state of a connection is not
	// an expression of nf_tables but a match of xtables, called from it. docs/architecture.md has the figures.
	limitEstablishedNFT = 1.04
)

// baselines describes what the ratios are relative to.
var baselines = []string{
	"no rules: a router that follows connections, without any chain at a hook, of nftables or of iptables",
	"empty chain: the same, with the backend's chain at the forward hook but no rule in it, as where others use iptables",
	"established: a datagram of a known flow; one thread carries it through the router, and nothing else is done for it",
}

// noRules is the index of the alternative with which all others are compared.
const noRules = 0

// compared is the alternatives of a backend, as indexes.
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

// enforce returns the alternative with a backend's rules of a cluster that has certain policies.
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

// kernelFigures returns the figures of each kind of packet, those of all backends next to each other.
func kernelFigures(backends []string, results map[datapath.Kind][]datapath.Result, of map[string]compared, few, all int) []report.Figure {
	var out []report.Figure
	for _, k := range datapath.Kinds() {
		r := results[k]
		out = append(out, report.Figure{Name: fmt.Sprintf("%s: no rules", k), Unit: report.Usec, Value: r[noRules].Typical * 1e6})
		for _, row := range []struct {
			name  string
			ratio func(compared) datapath.Ratio
			limit map[datapath.Kind]func(backend string) float64
		}{
			{"empty chain / no rules", func(c compared) datapath.Ratio { return r[c.empty].Ratios[noRules] }, nil},
			{fmt.Sprintf("%d policies / no rules", few), func(c compared) datapath.Ratio { return r[c.few].Ratios[noRules] }, byNoRules},
			{fmt.Sprintf("%d policies / no rules", all), func(c compared) datapath.Ratio { return r[c.all].Ratios[noRules] }, byNoRules},
			{fmt.Sprintf("%d policies / %d policies", all, few), func(c compared) datapath.Ratio { return r[c.all].Ratios[c.few] }, byFew},
			{fmt.Sprintf("%d policies / empty chain", all), func(c compared) datapath.Ratio { return r[c.all].Ratios[c.empty] }, byEmpty},
		} {
			for _, b := range backends {
				f := ratioFigure(fmt.Sprintf("%s: %s", k, row.name), 0, row.ratio(of[b]))
				if limit := row.limit[k]; limit != nil {
					f.Limit = limit(b)
				}
				f.Backend = b
				out = append(out, f)
			}
		}
	}
	return out
}

// Limits of ratios, by denominator and by kind of packet.
var (
	byNoRules = map[datapath.Kind]func(string) float64{datapath.TCP: connect, datapath.Exchange: exchange}
	byFew     = map[datapath.Kind]func(string) float64{datapath.TCP: func(string) float64 { return limitGrowth }}
	byEmpty   = map[datapath.Kind]func(string) float64{datapath.Established: established, datapath.Exchange: established}
)

func connect(backend string) float64 {
	if backend == rules.NFTables {
		return limitConnect
	}
	return limitConnectIPT
}

func exchange(backend string) float64 {
	if backend == rules.IPTNFT {
		return limitEstablishedNFT
	}
	return limitEstablished
}

func established(string) float64 { return limitEstablished }

func ratioFigure(name string, limit float64, r datapath.Ratio) report.Figure {
	return report.Figure{
		Name: name, Unit: report.Ratio, Limit: limit, Value: r.Value, Samples: r.Rounds,
		Note: fmt.Sprintf("%.4f to %.4f", r.Low, r.High),
	}
}
