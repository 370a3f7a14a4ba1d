package kernel

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// opcode is one kind of nf_tables expression that this package writes.
type opcode uint8

const (
	opMeta opcode = iota
	opPayload
	opCmp
	opRange
	opBitwise
	opLookup
	// opVmap is a lookup whose result is the verdict.
	opVmap
	opCt
	opFib
	// opVerdict is an immediate that sets the verdict.
	opVerdict
)

// instr is one expression of a rule. The form of its opcode says which fields count, and for what. Two expressions are
// the same if and only if their instrs are ==.
type instr struct {
	op opcode
	// n holds numbers: registers first, then what to load or how to compare.
	n [4]uint32
	// data holds values to compare with, masks and bounds.
	data [2]value
	// name is that of a set or chain.
	name string
}

// value is a register's content.
type value struct {
	len uint8
	b   [16]byte
}

func valueOf(b ...byte) value {
	v := value{len: uint8(len(b))}
	copy(v.b[:], b)
	return v
}

// hostU32 is the value of a register that the kernel fills in the machine's byte order.
func hostU32(n uint32) value { return valueOf(binary.NativeEndian.AppendUint32(nil, n)...) }

// portValue is a port in the packet's byte order.
func portValue(p uint16) value { return valueOf(byte(p>>8), byte(p)) }

// form says which attributes an expression has, and which field of instr each of them fills, by index. Zero stands for a
// field that does not count.
type form struct {
	kind    string
	numbers [4]uint16
	data    [2]uint16
	name    uint16
}

// formOf returns the form of every opcode but opVerdict, which nests deeper.
func formOf(op opcode) form {
	switch op {
	case opMeta:
		return form{kind: "meta", numbers: [4]uint16{unix.NFTA_META_DREG, unix.NFTA_META_KEY}}
	case opPayload:
		return form{kind: "payload", numbers: [4]uint16{
			unix.NFTA_PAYLOAD_DREG, unix.NFTA_PAYLOAD_BASE, unix.NFTA_PAYLOAD_OFFSET, unix.NFTA_PAYLOAD_LEN,
		}}
	case opCmp:
		return form{
			kind:    "cmp",
			numbers: [4]uint16{unix.NFTA_CMP_SREG, unix.NFTA_CMP_OP},
			data:    [2]uint16{unix.NFTA_CMP_DATA},
		}
	case opRange:
		return form{
			kind:    "range",
			numbers: [4]uint16{unix.NFTA_RANGE_SREG, unix.NFTA_RANGE_OP},
			data:    [2]uint16{unix.NFTA_RANGE_FROM_DATA, unix.NFTA_RANGE_TO_DATA},
		}
	case opBitwise:
		return form{
			kind:    "bitwise",
			numbers: [4]uint16{unix.NFTA_BITWISE_SREG, unix.NFTA_BITWISE_DREG, unix.NFTA_BITWISE_LEN},
			data:    [2]uint16{unix.NFTA_BITWISE_MASK, unix.NFTA_BITWISE_XOR},
		}
	case opLookup:
		return form{kind: "lookup", numbers: [4]uint16{unix.NFTA_LOOKUP_SREG}, name: unix.NFTA_LOOKUP_SET}
	case opVmap:
		return form{
			kind:    "lookup",
			numbers: [4]uint16{unix.NFTA_LOOKUP_SREG, unix.NFTA_LOOKUP_DREG},
			name:    unix.NFTA_LOOKUP_SET,
		}
	case opCt:
		return form{kind: "ct", numbers: [4]uint16{unix.NFTA_CT_DREG, unix.NFTA_CT_KEY}}
	case opFib:
		return form{kind: "fib", numbers: [4]uint16{unix.NFTA_FIB_DREG, unix.NFTA_FIB_RESULT, unix.NFTA_FIB_FLAGS}}
	}
	return form{}
}

// appendExpr writes i as an element of NFTA_RULE_EXPRESSIONS.
func (w *writer) appendExpr(i *instr) {
	elem := w.open(unix.NFTA_LIST_ELEM)
	if i.op == opVerdict {
		w.appendImmediate(i)
		w.shut(elem)
		return
	}
	f := formOf(i.op)
	w.str(unix.NFTA_EXPR_NAME, f.kind)
	body := w.open(unix.NFTA_EXPR_DATA)
	if f.name != 0 {
		w.str(f.name, i.name)
	}
	for k, typ := range f.numbers {
		if typ != 0 {
			w.u32(typ, i.n[k])
		}
	}
	for k, typ := range f.data {
		if typ == 0 {
			continue
		}
		at := w.open(typ)
		w.bytes(unix.NFTA_DATA_VALUE, i.data[k].b[:i.data[k].len])
		w.shut(at)
	}
	w.shut(body)
	w.shut(elem)
}

func (w *writer) appendImmediate(i *instr) {
	w.str(unix.NFTA_EXPR_NAME, "immediate")
	body := w.open(unix.NFTA_EXPR_DATA)
	w.u32(unix.NFTA_IMMEDIATE_DREG, unix.NFT_REG_VERDICT)
	data := w.open(unix.NFTA_IMMEDIATE_DATA)
	w.appendVerdict(i.n[0], i.name)
	w.shut(data)
	w.shut(body)
}

// appendVerdict writes the content of a verdict register.
func (w *writer) appendVerdict(code uint32, chain string) {
	at := w.open(unix.NFTA_DATA_VERDICT)
	w.u32(unix.NFTA_VERDICT_CODE, code)
	if chain != "" {
		w.str(unix.NFTA_VERDICT_CHAIN, chain)
	}
	w.shut(at)
}

// exprReader reads expressions. It keeps the names that it has seen, because a few names occur very often.
type exprReader struct{ names map[string]string }

func (r *exprReader) intern(b []byte) string {
	b = untilZero(b)
	if s, ok := r.names[string(b)]; ok {
		return s
	}
	s := string(b)
	r.names[s] = s
	return s
}

// read reads the content of NFTA_RULE_EXPRESSIONS into prog. An error names the first expression that this package would
// not have written.
func (r *exprReader) read(b []byte, prog []instr) ([]instr, error) {
	for typ, elem := range attributes(b) {
		if typ != unix.NFTA_LIST_ELEM {
			continue
		}
		var kind string
		var body []byte
		for typ, val := range attributes(elem) {
			switch typ {
			case unix.NFTA_EXPR_NAME:
				kind = r.intern(val)
			case unix.NFTA_EXPR_DATA:
				body = val
			}
		}
		i, ok := r.readExpr(kind, body)
		if !ok {
			return prog, fmt.Errorf("expression %q", kind)
		}
		prog = append(prog, i)
	}
	return prog, nil
}

func (r *exprReader) readExpr(kind string, body []byte) (instr, bool) {
	switch kind {
	case "meta":
		return r.readBody(opMeta, body)
	case "payload":
		return r.readBody(opPayload, body)
	case "cmp":
		return r.readBody(opCmp, body)
	case "range":
		return r.readBody(opRange, body)
	case "bitwise":
		return r.readBody(opBitwise, body)
	case "lookup":
		for typ := range attributes(body) {
			if typ == unix.NFTA_LOOKUP_DREG {
				return r.readBody(opVmap, body)
			}
		}
		return r.readBody(opLookup, body)
	case "ct":
		return r.readBody(opCt, body)
	case "fib":
		return r.readBody(opFib, body)
	case "immediate":
		return r.readImmediate(body)
	}
	return instr{}, false
}

// readBody reads the attributes that op's form names. Other attributes must be zero: a kernel that knows more of them
// reports them as zero as long as nobody set them.
func (r *exprReader) readBody(op opcode, body []byte) (instr, bool) {
	i, f := instr{op: op}, formOf(op)
	for typ, val := range attributes(body) {
		if f.name == typ {
			i.name = r.intern(val)
			continue
		}
		if k := slices.Index(f.numbers[:], typ); k >= 0 {
			if len(val) > 4 {
				return i, false
			}
			i.n[k] = number(val)
			continue
		}
		if k := slices.Index(f.data[:], typ); k >= 0 {
			v, ok := readValue(val)
			if !ok {
				return i, false
			}
			i.data[k] = v
			continue
		}
		if !isZero(val) {
			return i, false
		}
	}
	return i, true
}

func (r *exprReader) readImmediate(body []byte) (instr, bool) {
	i := instr{op: opVerdict}
	found := false
	for typ, val := range attributes(body) {
		switch typ {
		case unix.NFTA_IMMEDIATE_DREG:
			if u32(val) != unix.NFT_REG_VERDICT {
				return i, false
			}
		case unix.NFTA_IMMEDIATE_DATA:
			i.n[0], i.name, found = r.readVerdict(val)
		}
	}
	return i, found
}

// readVerdict reads what appendVerdict wrote.
func (r *exprReader) readVerdict(b []byte) (code uint32, chain string, found bool) {
	for typ, val := range attributes(b) {
		if typ != unix.NFTA_DATA_VERDICT {
			return 0, "", false
		}
		for typ, val := range attributes(val) {
			switch typ {
			case unix.NFTA_VERDICT_CODE:
				code, found = u32(val), true
			case unix.NFTA_VERDICT_CHAIN:
				chain = r.intern(val)
			}
		}
	}
	return code, chain, found
}

func readValue(b []byte) (value, bool) {
	for typ, val := range attributes(b) {
		if typ == unix.NFTA_DATA_VALUE && len(val) <= len(value{}.b) {
			return valueOf(val...), true
		}
	}
	return value{}, false
}

// number reads a value of at most four bytes in network byte order.
func number(b []byte) uint32 {
	var n uint32
	for _, c := range b {
		n = n<<8 | uint32(c)
	}
	return n
}

func isZero(b []byte) bool {
	return len(bytes.TrimLeft(b, "\x00")) == 0
}
