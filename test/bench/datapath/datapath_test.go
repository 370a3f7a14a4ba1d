package datapath

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/netpol-agent/netpol-agent/internal/render/nft/change"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/ruleset"
)

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

// The ports of these tests are below those that clients choose: rules without connection state see replies too.
const closed = 600

func plan(rounds int, alternatives ...Alternative) Plan {
	return Plan{
		Alternatives: alternatives,
		Client:       netip.MustParseAddr("10.9.0.1"), Server: netip.MustParseAddr("10.9.1.1"),
		TCPPort: 8080, UDPPort: 8125, ClosedPort: closed, Trials: 3, Rounds: rounds, Batch: 50,
	}
}

func nothing(*Path) error { return nil }

// slow makes a router evaluate n rules that do not match before it passes a packet or, on the closed port, drops it.
func slow(n int, closes bool) Alternative {
	const table = "slow"
	chain := &ruleset.Chain{Name: "forward", Hook: &ruleset.Hook{Point: ruleset.Forward, Priority: 5}}
	ops := []change.Op{change.AddTable{Table: table}, change.AddChain{Table: table, Chain: chain}}
	add := func(port uint16) {
		ops = append(ops, change.AddRule{Table: table, Chain: chain.Name, Rule: ruleset.Rule{
			Matches: []ruleset.Match{ruleset.DstPort{Protocol: 6, First: port, Last: port}},
			Verdict: ruleset.Verdict{Kind: ruleset.Drop},
		}})
	}
	for i := range n {
		add(uint16(100 + i))
	}
	if closes {
		add(closed)
	}
	return Alternative{
		Name:   "slow",
		Load:   func(p *Path) error { return p.conn.Commit(&change.Tx{Ops: ops}) },
		Closed: closes,
	}
}

// Two routers that do nothing cost the same; one with many rules costs more.
func TestKernelCompareTellsTheDifference(t *testing.T) {
	needRoot(t)
	none := Alternative{Name: "nothing", Load: nothing}
	results, err := Compare(plan(30, none, none, slow(400, true)))
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []Kind{TCP, Connect, Exchange} {
		r := results[k]
		if same := r[1].Ratios[0].Value; same < 0.9 || same > 1.1 {
			t.Errorf("%s: ratio of nothing to nothing is %.3f", k, same)
		}
		if more := r[2].Ratios[0].Value; more < 1.2 {
			t.Errorf("%s: ratio of 400 rules to nothing is %.3f", k, more)
		}
		if r[0].Typical <= 0 || r[0].Typical > 0.01 {
			t.Errorf("%s takes %v s", k, r[0].Typical)
		}
	}
}

// Rules that do not do what they claim are not timed.
func TestKernelCompareChecksWhatItTimes(t *testing.T) {
	needRoot(t)
	open := slow(1, false)
	open.Closed = true
	_, err := Compare(plan(1, Alternative{Name: "nothing", Load: nothing}, open))
	if err == nil || !strings.Contains(err.Error(), "dropped false, want true") {
		t.Errorf("a router that drops nothing is timed as one that drops: %v", err)
	}
}

// The ratio of two equal alternatives is 1, even if all the advantage is on one path.
func TestRatioCancelsWhatPathsDiffer(t *testing.T) {
	fast, slow := 10.0, 20.0
	trials := [][][]float64{
		{{fast, slow}, {fast, slow}, {fast, slow}},
		{{slow, fast}, {slow, fast}, {slow, fast}},
	}
	if r := ratio(trials, 1, 0); r.Value < 0.999 || r.Value > 1.001 || r.Rounds != 6 {
		t.Errorf("%+v", r)
	}
}
