package conformance

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestCombine(t *testing.T) {
	all := Choices{[]string{"ipv4", "dual"}, []string{"iptables", "nftables"}, []string{"vxlan", "host-gw"}}.Combine(DefaultOptions())
	seen := map[string]bool{}
	for _, o := range all {
		if err := o.Validate(); err != nil {
			t.Error(err)
		}
		seen[o.name()] = true
	}
	if len(all) != 8 || len(seen) != 8 {
		t.Errorf("%d combinations, %d reports", len(all), len(seen))
	}
}

func TestTable(t *testing.T) {
	o := DefaultOptions()
	run := newRun("fresh", time.Unix(0, 0), 90*time.Second, good, nil)
	broken := newRun("used", time.Unix(0, 0), 80*time.Second, bad, nil)
	text := table([]line{
		{o, Report{Runs: []Run{run, broken}}, ErrFailed},
		{o, Report{}, errors.New("no | cluster")},
	})
	for _, want := range []string{
		"| ipv4 | iptables | vxlan | fresh | ok | 2 | 0 | 0 | 0 | 90 |",
		"| ipv4 | iptables | vxlan | used | FAILED | 1 | 1 | 0 | 0 | 80 |",
		`| ipv4 | iptables | vxlan | | FAILED: no \| cluster | | | | | |`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("no line %q in\n%s", want, text)
		}
	}
	if lines := strings.Count(text, "\n"); lines != 7 {
		t.Errorf("%d lines:\n%s", lines, text)
	}
}
