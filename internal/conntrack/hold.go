package conntrack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// HoldTable is the nftables table of family inet that exists as long as replies are held.
const HoldTable = "netpol-agent-cut"

// holdFor is how long the replies of a cut UDP connection may open no connection of their own. It is conntrack's own
// timeout for UDP packets without an answer.
const holdFor = 30 * time.Second

// holdRest is how much longer the table stays, so that it is not created and removed in turns.
const holdRest = 5 * time.Second

// hold keeps cut UDP connections from coming back through their replies.
//
// UDP has no packet that opens a connection. When a connection from A to B is cut, a reply of B in flight starts a new one,
// from B to A, which the policies may well allow. A's packets then pass as its replies, B answers them, and so on. So the
// exact addresses and ports of B's replies are held in a set, from before the cut until every answer to what A sent has
// arrived. Packets that would open that very connection are dropped. Nothing else is affected, and the table exists only
// during that time.
type hold struct {
	conn *nftables.Conn
	// until is when the last tuple is released. It is zero if we have created no table.
	until time.Time
	// checked reports whether we have removed what a killed run may have left.
	checked bool
}

// holdSubsystem is nf_tables among the subsystems of nfnetlink.
const holdSubsystem = unix.NFNL_SUBSYS_NFTABLES

// hasSubsystem returns an error if the kernel has no nf_tables. It leaves any other failure to the first use.
func hasSubsystem(conn *netlink.Conn, subsystem uint16) error {
	_, err := conn.Execute(netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(subsystem<<8 | unix.NFT_MSG_GETGEN), Flags: netlink.Request},
		Data:   make([]byte, headerLen),
	})
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("the kernel has no nf_tables: %w", err)
	}
	return nil
}

// openHold connects to the nftables of a network namespace. fd is 0 for the current one.
func openHold(fd int) (*hold, error) {
	opts := []nftables.ConnOption{nftables.AsLasting()}
	if fd != 0 {
		opts = append(opts, nftables.WithNetNSFd(fd))
	}
	conn, err := nftables.New(opts...)
	if err != nil {
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	return &hold{conn: conn}, nil
}

// add holds the replies of those of the flows that are UDP.
func (h *hold) add(flows []Flow) error {
	var v4, v6 []nftables.SetElement
	for i := range flows {
		r := flows[i].Reply
		switch {
		case r.Protocol != unix.IPPROTO_UDP || !r.Src.IsValid() || !r.Dst.IsValid():
		case r.Src.Is4():
			v4 = append(v4, nftables.SetElement{Key: holdKey(r)})
		default:
			v6 = append(v6, nftables.SetElement{Key: holdKey(r)})
		}
	}
	if len(v4)+len(v6) == 0 {
		return nil
	}
	table := h.table()
	for _, f := range []struct {
		family holdFamily
		elems  []nftables.SetElement
	}{{holdIPv4, v4}, {holdIPv6, v6}} {
		if len(f.elems) == 0 {
			continue
		}
		if err := h.conn.SetAddElements(f.family.set(table), f.elems); err != nil {
			return fmt.Errorf("hold replies: %w", err)
		}
	}
	if err := h.conn.Flush(); err != nil {
		return fmt.Errorf("hold replies: %w", err)
	}
	h.until = time.Now().Add(holdFor)
	return nil
}

// table returns the table. If it does not exist yet, table adds it to the transaction.
func (h *hold) table() *nftables.Table {
	t := &nftables.Table{Name: HoldTable, Family: nftables.TableFamilyINet}
	if !h.until.IsZero() {
		return t
	}
	// Remove what a killed run may have left. Adding the table first makes the deletion succeed.
	h.conn.AddTable(t)
	h.conn.DelTable(t)
	h.conn.AddTable(t)
	sets := map[holdFamily]*nftables.Set{}
	for _, f := range []holdFamily{holdIPv4, holdIPv6} {
		sets[f] = f.set(t)
		// Without elements, AddSet only queues a message, which cannot fail.
		_ = h.conn.AddSet(sets[f], nil)
	}
	for _, hook := range []struct {
		name string
		at   *nftables.ChainHook
	}{{"forward", nftables.ChainHookForward}, {"output", nftables.ChainHookOutput}} {
		chain := h.conn.AddChain(&nftables.Chain{Name: hook.name, Table: t, Type: nftables.ChainTypeFilter,
			Hooknum: hook.at, Priority: nftables.ChainPriorityFilter})
		for _, f := range []holdFamily{holdIPv4, holdIPv6} {
			h.conn.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: f.rule(sets[f])})
		}
	}
	return t
}

// release removes the table if it is no longer needed. It returns for how long it still is, or 0 if there is no table.
func (h *hold) release() (time.Duration, error) {
	if h.until.IsZero() && h.checked {
		return 0, nil
	}
	if left := time.Until(h.until.Add(holdRest)); left > 0 {
		return left, nil
	}
	return 0, h.remove()
}

// remove removes the table, if it exists.
func (h *hold) remove() error {
	h.conn.DelTable(&nftables.Table{Name: HoldTable, Family: nftables.TableFamilyINet})
	if err := h.conn.Flush(); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove table %s: %w", HoldTable, err)
	}
	h.until, h.checked = time.Time{}, true
	return nil
}

// close removes the table and closes the connection.
func (h *hold) close() error {
	var err error
	if !h.until.IsZero() {
		err = h.remove()
	}
	return errors.Join(err, h.conn.CloseLasting())
}

// holdFamily describes the addresses of one IP family.
type holdFamily struct {
	name     string
	proto    byte
	src, dst uint32 // offsets in the IP header
	length   uint32
	datatype nftables.SetDatatype
}

var (
	holdIPv4 = holdFamily{"replies4", unix.NFPROTO_IPV4, 12, 16, 4, nftables.TypeIPAddr}
	holdIPv6 = holdFamily{"replies6", unix.NFPROTO_IPV6, 8, 24, 16, nftables.TypeIP6Addr}
)

func (f holdFamily) set(t *nftables.Table) *nftables.Set {
	return &nftables.Set{
		Table: t, Name: f.name, HasTimeout: true, Timeout: holdFor, Concatenation: true,
		KeyType: nftables.MustConcatSetType(f.datatype, nftables.TypeInetService, f.datatype, nftables.TypeInetService),
	}
}

// firstRegister is the first of the 4-byte registers, which a concatenation fills without gaps.
const firstRegister = 8

// rule returns the rule that drops UDP packets that would open a held connection.
func (f holdFamily) rule(set *nftables.Set) []expr.Any {
	words := f.length / 4
	load := func(reg uint32, base expr.PayloadBase, offset, length uint32) expr.Any {
		return &expr.Payload{OperationType: expr.PayloadLoad, DestRegister: reg, Base: base, Offset: offset, Len: length}
	}
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4,
			Mask: binaryutil.NativeEndian.PutUint32(expr.CtStateBitNEW), Xor: binaryutil.NativeEndian.PutUint32(0)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(0)},
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{f.proto}},
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_UDP}},
		load(firstRegister, expr.PayloadBaseNetworkHeader, f.src, f.length),
		load(firstRegister+words, expr.PayloadBaseTransportHeader, 0, 2),
		load(firstRegister+words+1, expr.PayloadBaseNetworkHeader, f.dst, f.length),
		load(firstRegister+2*words+1, expr.PayloadBaseTransportHeader, 2, 2),
		&expr.Lookup{SourceRegister: firstRegister, SetName: set.Name, SetID: set.ID},
		&expr.Verdict{Kind: expr.VerdictDrop},
	}
}

// holdKey returns source address, source port, destination address and destination port, each padded to whole words.
func holdKey(t Tuple) []byte {
	var b []byte
	add := func(a netip.Addr, port uint16) {
		b = append(b, a.AsSlice()...)
		b = binary.BigEndian.AppendUint16(b, port)
		b = append(b, 0, 0)
	}
	add(t.Src, t.SrcPort)
	add(t.Dst, t.DstPort)
	return b
}
