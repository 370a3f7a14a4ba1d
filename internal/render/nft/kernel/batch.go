package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/netpol-agent/netpol-agent/internal/render/nft/change"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/ruleset"
)

// Attributes that golang.org/x/sys/unix does not have.
const (
	attrTableUserdata = 6  // NFTA_TABLE_USERDATA
	attrChainFlags    = 10 // NFTA_CHAIN_FLAGS
	attrChainUserdata = 12 // NFTA_CHAIN_USERDATA
)

// An element message ends when it has this many elements or bytes. Both limits are well below what the 16-bit length of
// its attribute can express: a longer one would be cut without an error.
const (
	maxElemsPerMessage = 1000
	maxBytesPerMessage = 48 << 10
)

// batch is a transaction being written. It is the change.Executor that writes operations as messages.
type batch struct {
	writer
	// seq is the sequence number of the first message, which begins the batch. Each message has the next number.
	seq, next uint32
	// opOf holds the index of the operation of each message but the first.
	opOf  []int
	op    int
	setID uint32
	last  int // where the last operation's message begins
	prog  []instr
}

// newBatch begins a batch in buf's memory.
func newBatch(buf []byte, seq uint32) *batch {
	b := &batch{writer: writer{b: buf[:0]}, seq: seq, next: seq + 1}
	at := b.begin(unix.NFNL_MSG_BATCH_BEGIN, unix.NLM_F_REQUEST, seq, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES)
	b.end(at)
	return b
}

// finish ends the batch. Only the last operation is acknowledged; those that fail are reported anyway.
func (b *batch) finish() {
	flags := binary.NativeEndian.Uint16(b.b[b.last+6:])
	binary.NativeEndian.PutUint16(b.b[b.last+6:], flags|unix.NLM_F_ACK)
	b.finishUnanswered()
}

// finishUnanswered ends the batch without asking for an acknowledgement.
func (b *batch) finishUnanswered() {
	at := b.begin(unix.NFNL_MSG_BATCH_END, unix.NLM_F_REQUEST, b.next, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES)
	b.end(at)
}

// start begins a message of the current operation.
func (b *batch) start(typ uint16, flags uint16) int {
	at := b.begin(unix.NFNL_SUBSYS_NFTABLES<<8|typ, unix.NLM_F_REQUEST|flags, b.next, unix.NFPROTO_INET, 0)
	b.next++
	b.opOf = append(b.opOf, b.op)
	b.last = at
	return at
}

// opAt returns the index of the operation whose message has a sequence number.
func (b *batch) opAt(seq uint32) (int, bool) {
	k := seq - b.seq - 1
	if k >= uint32(len(b.opOf)) {
		return 0, false
	}
	return b.opOf[k], true
}

// add appends the messages of the operation with the given index.
func (b *batch) add(index int, op change.Op) error {
	b.op = index
	return errors.Join(change.Do(op, b), b.err)
}

// AddTable writes the operation.
func (b *batch) AddTable(op change.AddTable) error {
	if err := checkComment(op.Comment); err != nil {
		return err
	}
	at := b.start(unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	b.str(unix.NFTA_TABLE_NAME, op.Table)
	b.u32(unix.NFTA_TABLE_FLAGS, 0)
	b.userdata(attrTableUserdata, appendUdataComment(nil, udataComment, op.Comment))
	b.end(at)
	return nil
}

// DelTable writes the operation.
func (b *batch) DelTable(op change.DelTable) error {
	at := b.start(unix.NFT_MSG_DELTABLE, 0)
	b.str(unix.NFTA_TABLE_NAME, op.Table)
	b.end(at)
	return nil
}

// DelChain writes the operation.
func (b *batch) DelChain(op change.DelChain) error {
	return b.named(unix.NFT_MSG_DELCHAIN, unix.NFTA_CHAIN_TABLE, op.Table, unix.NFTA_CHAIN_NAME, op.Chain)
}

// FlushChain writes the operation.
func (b *batch) FlushChain(op change.FlushChain) error {
	return b.named(unix.NFT_MSG_DELRULE, unix.NFTA_RULE_TABLE, op.Table, unix.NFTA_RULE_CHAIN, op.Chain)
}

// DelSet writes the operation.
func (b *batch) DelSet(op change.DelSet) error {
	return b.named(unix.NFT_MSG_DELSET, unix.NFTA_SET_TABLE, op.Table, unix.NFTA_SET_NAME, op.Set)
}

// named writes an operation that consists of two names.
func (b *batch) named(typ, tableAttr uint16, table string, nameAttr uint16, name string) error {
	at := b.start(typ, 0)
	b.str(tableAttr, table)
	b.str(nameAttr, name)
	b.end(at)
	return nil
}

// userdata writes user data if there is any.
func (b *batch) userdata(typ uint16, data []byte) {
	if len(data) > 0 {
		b.bytes(typ, data)
	}
}

// AddChain writes the operation.
func (b *batch) AddChain(op change.AddChain) error {
	if err := checkComment(op.Chain.Comment); err != nil {
		return err
	}
	at := b.start(unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	b.str(unix.NFTA_CHAIN_TABLE, op.Table)
	b.str(unix.NFTA_CHAIN_NAME, op.Chain.Name)
	if h := op.Chain.Hook; h != nil {
		num, ok := hookNumber(h.Point)
		if !ok {
			return fmt.Errorf("hook %d", h.Point)
		}
		hook := b.open(unix.NFTA_CHAIN_HOOK)
		b.u32(unix.NFTA_HOOK_HOOKNUM, num)
		b.u32(unix.NFTA_HOOK_PRIORITY, uint32(h.Priority))
		b.shut(hook)
		b.u32(unix.NFTA_CHAIN_POLICY, netfilterAccept)
		b.str(unix.NFTA_CHAIN_TYPE, chainType)
	}
	b.userdata(attrChainUserdata, appendUdataComment(nil, udataComment, op.Chain.Comment))
	b.end(at)
	return nil
}

const chainType = "filter"

// Hooks of struct nf_hook_ops for family inet.
const (
	hookForward = 2
	hookOutput  = 3
)

func hookNumber(p ruleset.HookPoint) (uint32, bool) {
	switch p {
	case ruleset.Forward:
		return hookForward, true
	case ruleset.Output:
		return hookOutput, true
	}
	return 0, false
}

// AddRule writes the operation.
func (b *batch) AddRule(op change.AddRule) error {
	prog, data, err := encodeRule(&op.Rule, b.prog)
	if err != nil {
		return err
	}
	b.prog = prog
	at := b.start(unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_APPEND)
	b.str(unix.NFTA_RULE_TABLE, op.Table)
	b.str(unix.NFTA_RULE_CHAIN, op.Chain)
	exprs := b.open(unix.NFTA_RULE_EXPRESSIONS)
	for k := range prog {
		b.appendExpr(&prog[k])
	}
	b.shut(exprs)
	b.userdata(unix.NFTA_RULE_USERDATA, data)
	b.end(at)
	return nil
}

// AddSet writes the operation.
func (b *batch) AddSet(op change.AddSet) error {
	b.setID++
	at := b.start(unix.NFT_MSG_NEWSET, unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	if err := b.appendSet(op.Table, op.Set, b.setID); err != nil {
		return err
	}
	b.end(at)
	return nil
}

// AddElems writes the operation.
func (b *batch) AddElems(op change.AddElems) error {
	return b.elems(unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE|unix.NLM_F_EXCL, op.Table, op.Set, op.Elems)
}

// DelElems writes the operation.
func (b *batch) DelElems(op change.DelElems) error {
	return b.elems(unix.NFT_MSG_DELSETELEM, 0, op.Table, op.Set, op.Elems)
}

// elems writes elements, in as many messages as they need.
func (b *batch) elems(typ, flags uint16, table string, s *ruleset.Set, elems []ruleset.ElemVerdict) error {
	if s.Interval {
		// The kernel checks each bound against its neighbours, which must therefore be there already.
		elems = slices.SortedFunc(slices.Values(elems), ruleset.ElemVerdict.Compare)
	}
	for len(elems) > 0 {
		at := b.start(typ, flags)
		b.str(unix.NFTA_SET_ELEM_LIST_TABLE, table)
		b.str(unix.NFTA_SET_ELEM_LIST_SET, s.Name)
		list := b.open(unix.NFTA_SET_ELEM_LIST_ELEMENTS)
		n := 0
		for n < len(elems) && n < maxElemsPerMessage && len(b.b)-at < maxBytesPerMessage {
			if err := b.elem(s, elems[n], typ == unix.NFT_MSG_NEWSETELEM); err != nil {
				return fmt.Errorf("element %d: %w", n, err)
			}
			n++
		}
		b.shut(list)
		b.end(at)
		elems = elems[n:]
	}
	return nil
}

func (b *batch) elem(s *ruleset.Set, e ruleset.ElemVerdict, withData bool) error {
	if !s.Interval {
		return b.appendElem(s, e, withData)
	}
	if e.Verdict != (ruleset.Verdict{}) {
		return errors.New("verdict in an interval set")
	}
	return b.appendInterval(s, e.Elem)
}
