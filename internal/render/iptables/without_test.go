package iptables_test

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/render/iptables"
	"github.com/netpol-agent/netpol-agent/internal/render/iptables/kernel"
	"github.com/netpol-agent/netpol-agent/internal/render/iptables/ruleset"
	"github.com/netpol-agent/netpol-agent/test/iptfake"
)

// oneFamily is a kernel without IPv6.
type oneFamily struct{ *iptfake.Model }

func (k oneFamily) Save(f ruleset.Family) (string, error) {
	if f == ruleset.V6 {
		return "", kernel.ErrNoFamily
	}
	return k.Model.Save(f)
}

func (k oneFamily) Restore(f ruleset.Family, script string) error {
	if f == ruleset.V6 {
		return errors.New("can't initialize ip6tables table `filter': Address family not supported by protocol")
	}
	return k.Model.Restore(f, script)
}

// TestWithoutIPv6 checks that there are rules for link-local addresses where pods are attached to a bridge, but not
// where no pod can have such an address.
func TestWithoutIPv6(t *testing.T) {
	model := iptfake.NewModel()
	r := iptables.New(oneFamily{model}, iptables.Options{FullCheck: 1})
	p := program.New()
	p.Bridges = []string{"cni0"}
	p.Locals[netip.MustParseAddr("10.244.1.10")] = &program.Local{Pods: []string{"ns/pod"}}
	if _, err := r.Sync(p); err != nil {
		t.Fatal(err)
	}
	if drifted, err := r.Drifted(); drifted || err != nil {
		t.Errorf("drifted: %t, %v", drifted, err)
	}
	p.Bridges = nil
	if stats, err := r.Apply(p, &program.Delta{Bridges: true}); err != nil || stats.Full {
		t.Errorf("%+v, %v", stats, err)
	}
	if rules, _ := model.Head(ruleset.V4, "FORWARD"); len(rules) != 1 {
		t.Errorf("IPv4 is not judged: %q", rules)
	}
	if gone, err := iptables.Cleanup([]iptables.Kernel{oneFamily{model}}, false); err != nil || len(gone) == 0 {
		t.Errorf("removed %q, %v", gone, err)
	}
}
