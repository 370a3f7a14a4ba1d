package kernel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"iter"
	"math"

	"golang.org/x/sys/unix"
)

const (
	headerLen = 16 // struct nlmsghdr
	genmsgLen = 4  // struct nfgenmsg
	attrLen   = 4  // struct nlattr

	attrTypeMask = 0x3fff // NLA_TYPE_MASK: the type without the flags of struct nlattr
)

// errAttrTooLong means that an attribute outgrew its 16-bit length, which the kernel would silently cut.
var errAttrTooLong = errors.New("netlink attribute exceeds 65535 bytes")

// writer appends netlink messages to a buffer. Headers are in the machine's byte order, the values of nf_tables attributes
// in network byte order.
type writer struct {
	b   []byte
	err error
}

// begin starts a message and returns its position, for end.
func (w *writer) begin(typ, flags uint16, seq uint32, family uint8, resID uint16) int {
	at := len(w.b)
	w.b = append(w.b, 0, 0, 0, 0)
	w.b = binary.NativeEndian.AppendUint16(w.b, typ)
	w.b = binary.NativeEndian.AppendUint16(w.b, flags)
	w.b = binary.NativeEndian.AppendUint32(w.b, seq)
	w.b = append(w.b, 0, 0, 0, 0, family, unix.NFNETLINK_V0)
	w.b = binary.BigEndian.AppendUint16(w.b, resID)
	return at
}

func (w *writer) end(at int) {
	binary.NativeEndian.PutUint32(w.b[at:], uint32(len(w.b)-at))
}

// open starts a nested attribute and returns its position, for shut.
func (w *writer) open(typ uint16) int {
	at := len(w.b)
	w.b = append(w.b, 0, 0)
	w.b = binary.NativeEndian.AppendUint16(w.b, typ|unix.NLA_F_NESTED)
	return at
}

func (w *writer) shut(at int) { w.setLen(at, len(w.b)-at) }

func (w *writer) setLen(at, n int) {
	if n > math.MaxUint16 {
		w.err = errAttrTooLong
	}
	binary.NativeEndian.PutUint16(w.b[at:], uint16(n))
}

func (w *writer) bytes(typ uint16, val []byte) {
	at := len(w.b)
	w.b = append(w.b, 0, 0)
	w.b = binary.NativeEndian.AppendUint16(w.b, typ)
	w.b = append(w.b, val...)
	w.setLen(at, attrLen+len(val))
	w.pad()
}

// str writes a string with the terminating zero byte that the kernel expects.
func (w *writer) str(typ uint16, val string) {
	at := len(w.b)
	w.b = append(w.b, 0, 0)
	w.b = binary.NativeEndian.AppendUint16(w.b, typ)
	w.b = append(w.b, val...)
	w.b = append(w.b, 0)
	w.setLen(at, attrLen+len(val)+1)
	w.pad()
}

func (w *writer) u32(typ uint16, val uint32) {
	w.b = binary.NativeEndian.AppendUint16(w.b, attrLen+4)
	w.b = binary.NativeEndian.AppendUint16(w.b, typ)
	w.b = binary.BigEndian.AppendUint32(w.b, val)
}

func (w *writer) pad() {
	for len(w.b)%4 != 0 {
		w.b = append(w.b, 0)
	}
}

// attributes yields type and value of each attribute in b. It stops where b is no longer well-formed. The values are
// parts of b.
func attributes(b []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= attrLen {
			n := int(binary.NativeEndian.Uint16(b))
			if n < attrLen || n > len(b) {
				return
			}
			typ := binary.NativeEndian.Uint16(b[2:]) & attrTypeMask
			if !yield(typ, b[attrLen:n]) {
				return
			}
			b = b[min(align4(n), len(b)):]
		}
	}
}

func align4(n int) int { return (n + 3) &^ 3 }

// message is one netlink message of a datagram.
type message struct {
	typ, flags uint16
	seq        uint32
	body       []byte
}

// messages yields the netlink messages of a datagram. It stops where the datagram is no longer well-formed.
func messages(b []byte) iter.Seq[message] {
	return func(yield func(message) bool) {
		for len(b) >= headerLen {
			n := int(binary.NativeEndian.Uint32(b))
			if n < headerLen || n > len(b) {
				return
			}
			m := message{
				typ:   binary.NativeEndian.Uint16(b[4:]),
				flags: binary.NativeEndian.Uint16(b[6:]),
				seq:   binary.NativeEndian.Uint32(b[8:]),
				body:  b[headerLen:n],
			}
			if !yield(m) {
				return
			}
			b = b[min(align4(n), len(b)):]
		}
	}
}

// cString returns the text before the first zero byte.
func cString(b []byte) string { return string(untilZero(b)) }

func untilZero(b []byte) []byte {
	b, _, _ = bytes.Cut(b, []byte{0})
	return b
}

// u32 returns a four-byte value in network byte order, or zero.
func u32(b []byte) uint32 {
	if len(b) != 4 {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}
