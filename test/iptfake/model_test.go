package iptfake

import (
	"strings"
	"testing"

	"github.com/netpol-agent/netpol-agent/internal/render/iptables/ruleset"
)

func TestModelRefuses(t *testing.T) {
	m := NewModel()
	for _, err := range []error{
		m.RestoreSets("create NETPOL-4P-x hash:ip family inet\nadd NETPOL-4P-x 10.0.0.1\n"),
		m.Restore(ruleset.V4, `*filter
:NETPOL-FORWARD - [0:0]
:NETPOL-A - [0:0]
-A NETPOL-FORWARD -g NETPOL-A
-A NETPOL-A -m set --match-set NETPOL-4P-x src -m comment --comment "ns/p ingress[0]" -j RETURN
-A NETPOL-A -j DROP
COMMIT
`),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, script := range []string{
		"-A NOWHERE -j DROP", "-A FORWARD -j NOWHERE", "-X NETPOL-A", ":" + strings.Repeat("x", 29) + " - [0:0]",
		"-D FORWARD -j NOTHING", ":NETPOL-A - [0:0]\n-X NETPOL-A", "-A FORWARD -m set --match-set NONE src -j DROP",
		"-A NETPOL-A -g NETPOL-FORWARD",
	} {
		before, _ := m.Save(ruleset.V4)
		if err := m.Restore(ruleset.V4, "*filter\n"+script+"\nCOMMIT\n"); err == nil {
			t.Errorf("took %q", script)
		}
		if after, _ := m.Save(ruleset.V4); after != before {
			t.Errorf("%q was refused and had an effect", script)
		}
	}
	for _, script := range []string{
		"destroy NETPOL-4P-x", "destroy NONE", "add NONE 10.0.0.1", "add NETPOL-4P-x fd00::1", "add NETPOL-4P-x 10.0.0.0/8",
		"create NETPOL-4P-x hash:net family inet", "create " + strings.Repeat("x", 32) + " hash:ip family inet",
		"create A hash:net family inet\nadd A 0.0.0.0/0",
	} {
		if err := m.RestoreSets(script + "\n"); err == nil {
			t.Errorf("took %q", script)
		}
	}
}
