package node

import (
	"errors"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/netpol-agent/netpol-agent/test/agenttest"
)

// fakeSys is a /proc/sys.
type fakeSys struct {
	values   map[string]string
	readOnly bool
	writes   int
}

func (f *fakeSys) Read(path string) (string, error) {
	v, ok := f.values[path]
	if !ok {
		return "", fs.ErrNotExist
	}
	return v, nil
}

func (f *fakeSys) Write(path, value string) error {
	if f.readOnly {
		return fs.ErrPermission
	}
	f.writes++
	f.values[path] = value
	return nil
}

const (
	call4 = "net/bridge/bridge-nf-call-iptables"
	call6 = "net/bridge/bridge-nf-call-ip6tables"
	ipv6  = "net/ipv6/conf/all/disable_ipv6"
)

func TestBridgeCheck(t *testing.T) {
	v4, v6 := []netip.Addr{agenttest.Addr("10.0.0.1")}, []netip.Addr{agenttest.Addr("fd00::1")}
	both := []netip.Addr{v4[0], v6[0]}
	for name, c := range map[string]struct {
		addrs    []netip.Addr
		routed   bool
		values   map[string]string
		readOnly bool
		want     string
		writes   int
	}{
		"on":                         {both, false, map[string]string{call4: "1", call6: "1"}, true, "", 0},
		"off, may be switched on":    {both, false, map[string]string{call4: "0", call6: "0"}, false, "", 2},
		"off, only IPv4 is needed":   {v4, false, map[string]string{call4: "0", call6: "0"}, false, "", 1},
		"off, may not be changed":    {v4, false, map[string]string{call4: "0"}, true, call4 + " is 0", 0},
		"off for IPv6":               {both, false, map[string]string{call4: "1", call6: "0"}, true, call6 + " is 0", 0},
		"off for link-local":         {v4, false, map[string]string{call4: "1", call6: "0", ipv6: "0"}, true, call6 + " is 0", 0},
		"module missing":             {v4, false, nil, false, "modprobe br_netfilter", 0},
		"module missing, not needed": {both, true, nil, false, "", 0},
		"no pods":                    {nil, false, nil, false, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			sys := &fakeSys{values: c.values, readOnly: c.readOnly}
			bridge := "cni0"
			if c.routed {
				bridge = ""
			}
			b := &BridgeCheck{OnBridge: func(netip.Addr) (string, error) { return bridge, nil }, Settings: sys, Log: agenttest.Quiet()}
			err := b.Check(c.addrs)
			switch {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want != "":
				agenttest.OneLine(t, err, c.want)
			}
			if sys.writes != c.writes {
				t.Errorf("%d writes, want %d", sys.writes, c.writes)
			}
		})
	}
}

func TestBridgeCheckAsksForEachAddressOnce(t *testing.T) {
	asked := map[netip.Addr]int{}
	missing := true
	b := &BridgeCheck{Settings: &fakeSys{values: map[string]string{call4: "0"}, readOnly: true}, Log: agenttest.Quiet(),
		OnBridge: func(a netip.Addr) (string, error) {
			asked[a]++
			switch {
			case a != agenttest.Addr("10.0.0.2"):
				return "", nil
			case missing:
				return "", errors.New("no route yet")
			}
			return "cni0", nil
		}}
	pods := []netip.Addr{agenttest.Addr("10.0.0.1"), agenttest.Addr("10.0.0.2")}
	if err := b.Check(pods); err != nil {
		t.Errorf("a pod without a route yet: %v", err)
	}
	if got := b.Bridges(); len(got) != 0 {
		t.Errorf("bridges %v of a pod without a route", got)
	}
	missing = false
	if err := b.Check(pods); err == nil || !strings.Contains(err.Error(), call4) {
		t.Errorf("the pod's interface came: %v", err)
	}
	if got := b.Bridges(); !slices.Equal(got, []string{"cni0"}) {
		t.Errorf("bridges %v", got)
	}
	_ = b.Check(pods)
	if asked[pods[0]] != 1 || asked[pods[1]] != 2 {
		t.Errorf("asked %v", asked)
	}
	if err := b.Check(pods[:1]); err != nil {
		t.Errorf("the pod on the bridge is gone: %v", err)
	}
	b.forget()
	_ = b.Check(pods)
	if asked[pods[0]] != 2 {
		t.Errorf("asked %v after forgetting", asked)
	}
}

// TestBridgeThatIsDownForAMoment: packets that the bridge carries when it is up again must not pass unjudged until the
// next look.
func TestBridgeThatIsDownForAMoment(t *testing.T) {
	bridge, failed := "cni0", error(nil)
	b := &BridgeCheck{Settings: &fakeSys{values: map[string]string{call4: "1"}}, Log: agenttest.Quiet(),
		OnBridge: func(netip.Addr) (string, error) { return bridge, failed }}
	pods := []netip.Addr{agenttest.Addr("10.0.0.1")}
	expect := func(when string, want ...string) {
		t.Helper()
		b.forget()
		if err := b.Check(pods); err != nil {
			t.Errorf("%s: %v", when, err)
		}
		if got := b.Bridges(); !slices.Equal(got, want) {
			t.Errorf("%s: bridges %v, want %v", when, got, want)
		}
	}
	expect("up", "cni0")
	bridge, failed = "", errors.New("network is unreachable")
	expect("down", "cni0")
	bridge, failed = "cni1", nil
	expect("renamed", "cni1")
	bridge = ""
	expect("on no bridge")
	bridge, failed = "cni1", errors.New("network is unreachable")
	expect("still on none")
	pods = nil
	expect("gone")
}
