package kernel

import (
	"testing"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// TestEncodingIsThatOfTheLibrary compares each kind of expression with what github.com/google/nftables writes.
func TestEncodingIsThatOfTheLibrary(t *testing.T) {
	verdict := expr.VerdictKind(unix.NFT_GOTO)
	bitwise := &expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: []byte{255, 240, 0, 0}, Xor: []byte{0, 0, 0, 0}}
	for _, tc := range []struct {
		ours instr
		lib  expr.Any
	}{
		{instr{op: opMeta, n: [4]uint32{1, 16}}, &expr.Meta{Register: 1, Key: expr.MetaKeyL4PROTO}},
		{instr{op: opPayload, n: [4]uint32{9, 2, 2, 2}},
			&expr.Payload{DestRegister: 9, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}},
		{instr{op: opCmp, n: [4]uint32{1, unix.NFT_CMP_NEQ}, data: [2]value{valueOf(1, 2, 3)}},
			&expr.Cmp{Register: 1, Op: expr.CmpOpNeq, Data: []byte{1, 2, 3}}},
		{instr{op: opRange, n: [4]uint32{1, 0}, data: [2]value{portValue(80), portValue(0x1234)}},
			&expr.Range{Register: 1, Op: expr.CmpOpEq, FromData: []byte{0, 80}, ToData: []byte{0x12, 0x34}}},
		{instr{op: opBitwise, n: [4]uint32{1, 1, 4}, data: [2]value{maskOf(12, 32), valueOf(0, 0, 0, 0)}}, bitwise},
		{instr{op: opLookup, n: [4]uint32{1}, name: "s"}, &expr.Lookup{SourceRegister: 1, SetName: "s"}},
		{instr{op: opVmap, n: [4]uint32{1, 0}, name: "m"},
			&expr.Lookup{SourceRegister: 1, SetName: "m", IsDestRegSet: true, DestRegister: unix.NFT_REG_VERDICT}},
		{instr{op: opCt, n: [4]uint32{1, 0}}, &expr.Ct{Register: 1, Key: expr.CtKeySTATE}},
		{instr{op: opFib, n: [4]uint32{1, unix.NFT_FIB_RESULT_ADDRTYPE, unix.NFTA_FIB_F_SADDR}},
			&expr.Fib{Register: 1, ResultADDRTYPE: true, FlagSADDR: true}},
		{instr{op: opVerdict, n: [4]uint32{uint32(0xfffffffc)}, name: "c"}, &expr.Verdict{Kind: verdict, Chain: "c"}},
	} {
		raw, err := expr.Marshal(unix.NFPROTO_INET, tc.lib)
		if err != nil {
			t.Fatal(err)
		}
		var w writer
		w.bytes(unix.NFTA_LIST_ELEM|unix.NLA_F_NESTED, raw)
		var o writer
		o.appendExpr(&tc.ours)
		for by, b := range map[string][]byte{"the library": w.b, "us": o.b} {
			er := exprReader{names: map[string]string{}}
			got, err := er.read(b, nil)
			if err != nil || len(got) != 1 || got[0] != tc.ours {
				t.Errorf("%T, written by %s: %+v, %v, want %+v", tc.lib, by, got, err, tc.ours)
			}
		}
	}
}

// TestTooLongAttribute checks that nothing is truncated silently.
func TestTooLongAttribute(t *testing.T) {
	var w writer
	at := w.open(1)
	w.bytes(2, make([]byte, 40000))
	w.bytes(2, make([]byte, 20000))
	if w.shut(at); w.err != nil {
		t.Errorf("60 kB: %v", w.err)
	}
	at = w.open(1)
	w.bytes(2, make([]byte, 40000))
	w.bytes(2, make([]byte, 40000))
	if w.shut(at); w.err == nil {
		t.Error("80 kB: no error")
	}
}

// FuzzReaders checks that no input makes the readers fail other than with an error.
func FuzzReaders(f *testing.F) {
	b := newBatch(nil, 1)
	for k, op := range load("t", sample()).Ops {
		if err := b.add(k, op); err != nil {
			f.Fatal(err)
		}
	}
	b.finish()
	f.Add(b.b)
	f.Add(ackOf(b.b, 0, unix.ENOENT))
	for m := range messages(b.b) {
		f.Add(m.body)
	}
	f.Fuzz(func(_ *testing.T, raw []byte) {
		for m := range messages(raw) {
			readRefusal(m)
			readBody(m.body)
		}
		readBody(raw)
	})
}

func readBody(b []byte) {
	if len(b) < genmsgLen {
		return
	}
	r := newTableReader(nil, "t")
	b = b[genmsgLen:]
	_, _ = r.chain(b), r.rule(b)
	_ = r.set(b)
	for _, s := range sampleSets() {
		for _, list := range attributes(b) {
			for _, elem := range attributes(list) {
				_, _ = r.exprs.readElem(s, elem)
			}
		}
	}
}
