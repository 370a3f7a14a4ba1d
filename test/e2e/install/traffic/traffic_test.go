package traffic

import (
	"net/netip"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/netpol-agent/netpol-agent/test/testns"
)

// TestKernelTrafficIsJudged checks that streams see both what passes and what is lost.
func TestKernelTrafficIsJudged(t *testing.T) {
	a, b := testns.New(t), testns.New(t)
	testns.Connect(a, "eth0", b, "eth0")
	a.Addr("eth0", "10.1.0.1/24")
	b.Addr("eth0", "10.1.0.2/24")
	from, to := end("a", a, "10.1.0.1"), end("b", b, "10.1.0.2")

	for _, r := range run(t, from, to) {
		if r.Wrong() != "" == r.Permitted {
			t.Errorf("open: %s, sent %d, %q", r, r.Sent, r.Wrong())
		}
	}
	if err := b.Run(func() error {
		return exec.CommandContext(t.Context(), "nft", "add table ip t; add chain ip t c {type filter hook input priority 0; policy drop;}").Run()
	}); err != nil {
		t.Fatal(err)
	}
	for _, r := range run(t, from, to) {
		if r.Wrong() == "" == r.Permitted {
			t.Errorf("closed: %s, sent %d, %q", r, r.Sent, r.Wrong())
		}
	}
}

func end(name string, ns *testns.NS, addr string) End {
	return End{Name: name, NetNS: "/proc/self/fd/" + strconv.Itoa(ns.FD()), Addr: netip.MustParseAddr(addr)}
}

// run sends each kind of stream for a moment, once as if it were permitted and once as if it were not.
func run(t *testing.T, from, to End) []Result {
	t.Helper()
	var results []Result
	for _, permitted := range []bool{true, false} {
		streams := []Stream{{from, to, Connects, permitted}, {from, to, Flows, permitted}}
		if permitted {
			streams = append(streams, Stream{from, to, Connection, true})
		}
		tr, err := Start(t.Context(), streams, 10*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(200 * time.Millisecond)
		results = append(results, tr.Stop()...)
	}
	return results
}
