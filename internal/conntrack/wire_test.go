package conntrack

import (
	"encoding/hex"
	"net/netip"
	"testing"
)

// A DNATed UDP entry in the default zone, as kernel 6.18 sends it (without counters and timeouts).
const udpEntry = "02000000" +
	"34000180" + "14000180" + "080001000a000009" + "080002000a600001" + "1c000280" + "0500010011000000" + "0600020030390000" + "0600030000350000" +
	"34000280" + "14000180" + "080001000a000007" + "080002000a000009" + "1c000280" + "0500010011000000" + "0600020014e90000" + "0600030030390000" +
	"08000c00deadbeef"

func TestParseFlow(t *testing.T) {
	data, err := hex.DecodeString(udpEntry)
	if err != nil {
		t.Fatal(err)
	}
	f, err := parseFlow(data)
	if err != nil {
		t.Fatal(err)
	}
	want := Tuple{Src: netip.MustParseAddr("10.0.0.9"), Dst: netip.MustParseAddr("10.0.0.7"), Protocol: 17, SrcPort: 12345, DstPort: 5353}
	if got := f.Connection(); got != want {
		t.Errorf("connection %+v, want %+v", got, want)
	}
	if f.Orig.DstPort != 53 || f.Orig.Dst != netip.MustParseAddr("10.96.0.1") || f.Master != nil {
		t.Errorf("original %+v, master %v", f.Orig, f.Master)
	}
	if hex.EncodeToString(f.key.id) != "deadbeef" || f.key.zone != nil || len(f.key.orig) != 48 {
		t.Errorf("key %+v", f.key)
	}
	for i := range data {
		data[i] = 0xff
	}
	if f.key.id[0] != 0xde || f.key.orig[0] != 0x14 {
		t.Error("the flow keeps part of the receive buffer")
	}
}

func FuzzParseFlow(f *testing.F) {
	data, _ := hex.DecodeString(udpEntry)
	f.Add(data)
	f.Add([]byte{})
	f.Fuzz(func(_ *testing.T, data []byte) {
		flow, err := parseFlow(data)
		if err == nil {
			_ = flow.String()
			_, _ = flow.deletion()
		}
	})
}
