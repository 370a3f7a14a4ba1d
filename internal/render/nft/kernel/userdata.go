package kernel

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/ruleset"
)

// Types of the user data that the nft tool reads. The kernel stores user data without interpreting it.
const (
	udataComment         = 0 // of a table, a chain or a rule
	udataSetKeyByteOrder = 0
	udataSetDataOrder    = 1
	udataSetComment      = 7

	// udataAnyAddr is ours, and nft skips it. See anyAddrs.
	udataAnyAddr = 0x80
)

func checkComment(s string) error {
	if len(s) > ruleset.MaxComment {
		return fmt.Errorf("comment of %d bytes is longer than %d", len(s), ruleset.MaxComment)
	}
	if strings.IndexByte(s, 0) >= 0 {
		return fmt.Errorf("comment %q holds a zero byte", s)
	}
	return nil
}

func appendUdata(b []byte, typ uint8, val ...byte) []byte {
	return append(append(b, typ, byte(len(val))), val...)
}

func appendUdataU32(b []byte, typ uint8, n uint32) []byte {
	return binary.NativeEndian.AppendUint32(append(b, typ, 4), n)
}

// appendUdataComment appends a comment, or nothing if it is empty.
func appendUdataComment(b []byte, typ uint8, s string) []byte {
	if s == "" {
		return b
	}
	b = append(b, typ, byte(len(s)+1))
	return append(append(b, s...), 0)
}

// udata returns the value of the first entry of a type, or nil if there is none.
func udata(b []byte, typ uint8) []byte {
	for len(b) >= 2 {
		n := int(b[1])
		if len(b) < 2+n {
			return nil
		}
		if b[0] == typ {
			return b[2 : 2+n]
		}
		b = b[2+n:]
	}
	return nil
}

// anyAddrs notes which matches of a rule are prefixes of length zero. Such a match leaves at most a check of the family in
// the program, so it is read back from this note. Each entry is the index of the match, the family and the end.
type anyAddrs []byte

func (a anyAddrs) with(index int, m ruleset.InPrefix) anyAddrs {
	return append(a, byte(index), byte(program.FamilyOf(m.Prefix.Addr())), byte(m.End))
}

func (a anyAddrs) at(index int) (ruleset.InPrefix, bool) {
	for ; len(a) >= 3; a = a[3:] {
		if int(a[0]) != index {
			continue
		}
		f, e := ruleset.Family(a[1]), ruleset.End(a[2])
		if !f.Valid() || e > ruleset.Dst {
			return ruleset.InPrefix{}, false
		}
		return ruleset.InPrefix{End: e, Prefix: prefixOf(f, value{}, 0)}, true
	}
	return ruleset.InPrefix{}, false
}
