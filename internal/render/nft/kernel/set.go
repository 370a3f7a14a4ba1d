package kernel

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/ruleset"
	"github.com/netpol-agent/netpol-agent/internal/render/ranges"
)

// Numbers of the nft tool's data types. The kernel stores the type of a set's keys without interpreting it. The type of a
// concatenation has typeBits for each part.
const (
	typeIPv4    = 7
	typeIPv6    = 8
	typeService = 13
	typeBits    = 6

	byteOrderBig = 2
)

// attrSetExpr and attrSetExprs (NFTA_SET_EXPR, NFTA_SET_EXPRESSIONS) give each element of a set an expression.
const (
	attrSetExpr  = 17
	attrSetExprs = 18
)

// keyType returns type number and length in bytes of a set's keys. Each part of a concatenation fills whole 32-bit words.
func keyType(t ruleset.SetType) (typ, size uint32, ok bool) {
	switch t {
	case ruleset.Addr4:
		return typeIPv4, 4, true
	case ruleset.Addr6:
		return typeIPv6, 16, true
	case ruleset.Addr4Port:
		return typeIPv4<<typeBits | typeService, 8, true
	case ruleset.Addr6Port:
		return typeIPv6<<typeBits | typeService, 20, true
	case ruleset.Addr4Pair:
		return typeIPv4<<typeBits | typeIPv4, 8, true
	case ruleset.Addr6Pair:
		return typeIPv6<<typeBits | typeIPv6, 32, true
	}
	return 0, 0, false
}

// setFlags returns the flags of NFTA_SET_FLAGS.
func setFlags(s *ruleset.Set) uint32 {
	var flags uint32
	if s.Interval {
		flags |= unix.NFT_SET_INTERVAL
	}
	if s.Verdicts {
		flags |= unix.NFT_SET_MAP
	}
	return flags
}

// verdictLen is the size of a verdict that the nft tool declares. The kernel ignores it.
const verdictLen = 16

// appendSet writes the attributes of a new set. It tells the kernel no size: a size would limit the number of elements,
// which changes, and the kernel clears memory for all of them at once (3 ms for 65536). Without a size the kernel uses a
// hash table that grows, and a tree for intervals.
func (w *writer) appendSet(table string, s *ruleset.Set, id uint32) error {
	typ, size, ok := keyType(s.Type)
	if !ok {
		return fmt.Errorf("set type %d", s.Type)
	}
	if s.Interval && (s.Verdicts || s.Type > ruleset.Addr6) {
		return errors.New("intervals of this kind of set")
	}
	if err := checkComment(s.Comment); err != nil {
		return err
	}
	w.str(unix.NFTA_SET_TABLE, table)
	w.str(unix.NFTA_SET_NAME, s.Name)
	w.u32(unix.NFTA_SET_FLAGS, setFlags(s))
	w.u32(unix.NFTA_SET_KEY_TYPE, typ)
	w.u32(unix.NFTA_SET_KEY_LEN, size)
	w.u32(unix.NFTA_SET_ID, id)
	data := appendUdataU32(nil, udataSetKeyByteOrder, byteOrderBig)
	if s.Verdicts {
		w.u32(unix.NFTA_SET_DATA_TYPE, unix.NFT_DATA_VERDICT)
		w.u32(unix.NFTA_SET_DATA_LEN, verdictLen)
		data = appendUdataU32(data, udataSetDataOrder, 0)
	}
	w.bytes(unix.NFTA_SET_USERDATA, appendUdataComment(data, udataSetComment, s.Comment))
	return nil
}

// readSet is the inverse of appendSet. The second result reports whether the set is hidden: an anonymous set belongs to a
// rule that is not ours, and comes and goes with it. A set with anything that appendSet does not write is of type
// ruleset.ForeignType.
func readSet(body []byte) (s *ruleset.Set, hidden bool) {
	s = &ruleset.Set{Type: ruleset.ForeignType, Elems: map[ruleset.Elem]ruleset.Verdict{}}
	var flags, typ, size, dataType uint32
	odd := false
	for t, val := range attributes(body) {
		switch t {
		case unix.NFTA_SET_NAME:
			s.Name = cString(val)
		case unix.NFTA_SET_FLAGS:
			flags = u32(val)
		case unix.NFTA_SET_KEY_TYPE:
			typ = u32(val)
		case unix.NFTA_SET_KEY_LEN:
			size = u32(val)
		case unix.NFTA_SET_DATA_TYPE:
			dataType = u32(val)
		case unix.NFTA_SET_USERDATA:
			s.Comment = cString(udata(val, udataSetComment))
		case unix.NFTA_SET_DESC:
			odd = odd || len(val) > 0
		case attrSetExpr, attrSetExprs:
			odd = true
		}
	}
	if flags&unix.NFT_SET_ANONYMOUS != 0 {
		return s, true
	}
	s.Interval = flags&unix.NFT_SET_INTERVAL != 0
	s.Verdicts = flags&unix.NFT_SET_MAP != 0 && dataType == unix.NFT_DATA_VERDICT
	if odd || flags != setFlags(s) {
		return s, false
	}
	for t := ruleset.Addr4; t <= ruleset.Addr6Pair; t++ {
		if kt, ks, _ := keyType(t); kt == typ && ks == size {
			s.Type = t
		}
	}
	return s, false
}

// appendKey appends the key of e, or returns an error if e is no element of such a set.
func appendKey(b []byte, t ruleset.SetType, e ruleset.Elem) ([]byte, error) {
	want, family := ruleset.Elem{A: e.A}, t.Family()
	b, err := appendAddr(b, e.A, family)
	switch t {
	case ruleset.Addr4Port, ruleset.Addr6Port:
		want.Port = e.Port
		b = append(b, byte(e.Port>>8), byte(e.Port), 0, 0)
	case ruleset.Addr4Pair, ruleset.Addr6Pair:
		want.B = e.B
		if err == nil {
			b, err = appendAddr(b, e.B, family)
		}
	}
	if err == nil && e != want {
		err = fmt.Errorf("element %+v has fields that %s does not", e, t)
	}
	return b, err
}

func appendAddr(b []byte, a netip.Addr, f ruleset.Family) ([]byte, error) {
	if !a.IsValid() || program.FamilyOf(a) != f || a.Zone() != "" {
		return b, fmt.Errorf("address %s in a set of another family", a)
	}
	if f == ruleset.V4 {
		b4 := a.As4()
		return append(b, b4[:]...), nil
	}
	b16 := a.As16()
	return append(b, b16[:]...), nil
}

// readKey is the inverse of appendKey.
func readKey(t ruleset.SetType, b []byte) (ruleset.Elem, bool) {
	if _, size, ok := keyType(t); !ok || len(b) != int(size) {
		return ruleset.Elem{}, false
	}
	n := addrLen(t.Family())
	a, _ := netip.AddrFromSlice(b[:n]) // n is the length of an address
	e := ruleset.Elem{A: a}
	switch t {
	case ruleset.Addr4Port, ruleset.Addr6Port:
		e.Port = binary.BigEndian.Uint16(b[n:])
	case ruleset.Addr4Pair, ruleset.Addr6Pair:
		e.B, _ = netip.AddrFromSlice(b[n:])
	}
	return e, true
}

// appendElem writes an element of a set that holds single keys.
func (w *writer) appendElem(s *ruleset.Set, e ruleset.ElemVerdict, withData bool) error {
	var key [32]byte
	k, err := appendKey(key[:0], s.Type, e.Elem)
	if err != nil {
		return err
	}
	if !s.Verdicts && e.Verdict != (ruleset.Verdict{}) {
		return errors.New("verdict in a set that is no verdict map")
	}
	elem := w.open(unix.NFTA_LIST_ELEM)
	w.appendElemKey(k)
	if s.Verdicts && withData {
		code, err := verdictCode(e.Verdict)
		if err != nil {
			return err
		}
		at := w.open(unix.NFTA_SET_ELEM_DATA)
		w.appendVerdict(code, e.Verdict.Chain)
		w.shut(at)
	}
	w.shut(elem)
	return nil
}

func (w *writer) appendElemKey(k []byte) {
	at := w.open(unix.NFTA_SET_ELEM_KEY)
	w.bytes(unix.NFTA_DATA_VALUE, k)
	w.shut(at)
}

// appendInterval writes an interval as the kernel keeps it: as an element at its start and one, with a flag, at the first
// address after it. An interval that reaches the family's last address has only the former.
func (w *writer) appendInterval(s *ruleset.Set, e ruleset.Elem) error {
	var first, end [16]byte
	f, err := appendKey(first[:0], s.Type, ruleset.Elem{A: e.A})
	if err != nil {
		return err
	}
	l, err := appendKey(end[:0], s.Type, ruleset.Elem{A: e.B})
	if err != nil {
		return err
	}
	if e != (ruleset.Elem{A: e.A, B: e.B}) || e.B.Less(e.A) {
		return fmt.Errorf("not an interval: %+v", e)
	}
	elem := w.open(unix.NFTA_LIST_ELEM)
	w.appendElemKey(f)
	w.shut(elem)
	if !increment(l) {
		return nil
	}
	elem = w.open(unix.NFTA_LIST_ELEM)
	w.u32(unix.NFTA_SET_ELEM_FLAGS, unix.NFT_SET_ELEM_INTERVAL_END)
	w.appendElemKey(l)
	w.shut(elem)
	return nil
}

// increment adds one to a number in network byte order. It returns false if the number overflows.
func increment(b []byte) bool {
	for k := len(b) - 1; k >= 0; k-- {
		b[k]++
		if b[k] != 0 {
			return true
		}
	}
	return false
}

// rawElem is an element as the kernel keeps it.
type rawElem struct {
	key     ruleset.Elem
	end     bool
	verdict ruleset.Verdict
}

// errForeignElem means that this package would not have written the element.
var errForeignElem = errors.New("element that this program does not write")

// readElem reads one element of a set. An element with a timeout, an expression or the like is foreign, and so is the
// element that matches whatever the others do not. Comments of elements do not count.
func (r *exprReader) readElem(s *ruleset.Set, body []byte) (rawElem, error) {
	var e rawElem
	found, decided := false, false
	for typ, val := range attributes(body) {
		switch typ {
		case unix.NFTA_SET_ELEM_KEY:
			for typ, val := range attributes(val) {
				if typ == unix.NFTA_DATA_VALUE {
					e.key, found = readKey(s.Type, val)
				}
			}
		case unix.NFTA_SET_ELEM_DATA:
			code, chain, ok := r.readVerdict(val)
			if !ok {
				return e, errForeignElem
			}
			if e.verdict, decided = verdictOf(code, chain); !decided {
				return e, errForeignElem
			}
		case unix.NFTA_SET_ELEM_FLAGS:
			if e.end = u32(val) == unix.NFT_SET_ELEM_INTERVAL_END; !e.end && !isZero(val) {
				return e, errForeignElem
			}
		case unix.NFTA_SET_ELEM_USERDATA, unix.NFTA_SET_ELEM_PAD:
		default:
			return e, errForeignElem
		}
	}
	if !found || decided != s.Verdicts || e.end && !s.Interval {
		return e, errForeignElem
	}
	return e, nil
}

// putIntervals joins starts and ends to intervals and adds these to s.
func putIntervals(s *ruleset.Set, raw []rawElem) error {
	slices.SortFunc(raw, func(a, b rawElem) int {
		if c := a.key.A.Compare(b.key.A); c != 0 {
			return c
		}
		// Where one interval ends and the next begins, the end comes first.
		return cmp.Compare(boolInt(b.end), boolInt(a.end))
	})
	var start netip.Addr
	for _, e := range raw {
		switch {
		case e.end && start.IsValid():
			s.Elems[ruleset.Elem{A: start, B: e.key.A.Prev()}] = ruleset.Verdict{}
			start = netip.Addr{}
		case e.end && !e.key.A.Prev().IsValid():
			// The nft tool writes this end without a start when it adds to a set. It does no harm.
		case e.end:
			return errForeignElem
		case start.IsValid():
			return errForeignElem
		default:
			start = e.key.A
		}
	}
	if start.IsValid() {
		last := ranges.Last(netip.PrefixFrom(start, 0))
		s.Elems[ruleset.Elem{A: start, B: last}] = ruleset.Verdict{}
	}
	return nil
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}
