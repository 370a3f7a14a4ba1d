package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/netpol-agent/netpol-agent/test/e2e/lab"
)

func TestMatrixHasEveryCombinationOnce(t *testing.T) {
	all := choices{lab.IPFamilies(), lab.ProxyModes(), lab.FlannelBackends()}.all()
	names := map[string]bool{}
	for _, o := range all {
		names[combination(o)] = true
		if err := o.Validate(); err != nil {
			t.Errorf("%s: %v", combination(o), err)
		}
	}
	if len(all) != 12 || len(names) != len(all) || !names["dual-nftables-host-gw"] || !names["ipv4-iptables-vxlan"] {
		t.Errorf("%d combinations, %d names: %v", len(all), len(names), names)
	}
}

func TestMatrixFailsIfOneFails(t *testing.T) {
	good, bad := result{opts: lab.DefaultOptions()}, result{opts: lab.DefaultOptions(), err: errors.New("broken\nlog line")}
	bad.opts.IPFamily = lab.DualStack
	var text strings.Builder
	if err := summarize(&text, []result{good}); err != nil {
		t.Error(err)
	}
	if err := summarize(&text, []result{good, bad}); err == nil || !strings.Contains(err.Error(), "1 of 2") {
		t.Errorf("one of two failed: %v", err)
	}
	if !strings.Contains(text.String(), "FAILED: broken\n") || strings.Contains(text.String(), "log line") {
		t.Errorf("table: %s", text.String())
	}
}
