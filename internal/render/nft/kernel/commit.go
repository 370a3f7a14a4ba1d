package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netpol-agent/netpol-agent/internal/render/nft/ruleset"
)

// answerTimeout bounds the wait for an answer. The kernel has answered before a send returns, so it only
// passes when an answer was lost.
const answerTimeout = 5 * time.Second

// keepBuffer is the largest buffer kept for the next transaction.
const keepBuffer = 1 << 20

// Commit makes the kernel carry out a transaction. If it returns nil, all of it is done. If errors.Is(err,
// ErrUnknown), the kernel has done all or nothing of it and has to be read. After every other error it has done
// nothing; the error names the operation that was refused first and unwraps to the kernel's error number.
func (c *Conn) Commit(tx *ruleset.Tx) error {
	if tx.Empty() {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	b := newBatch(c.out, c.seq+1)
	for k, op := range tx.Ops {
		if err := b.add(k, op); err != nil {
			return fmt.Errorf("commit: %s: %w", describe(op), err)
		}
	}
	if len(b.opOf) == 0 {
		return nil
	}
	b.finish()
	c.seq = b.next
	c.out = b.b
	if cap(c.out) > keepBuffer {
		c.out = nil
	}
	if err := c.sock.send(b.b); err != nil {
		if errors.Is(err, unix.EMSGSIZE) {
			return fmt.Errorf("commit: %w (%d bytes): %w", ErrTooLarge, len(b.b), err)
		}
		return fmt.Errorf("commit: %w", explain(err))
	}
	return c.outcome(b, tx)
}

// refusal is an error that the kernel reported for a message.
type refusal struct {
	seq   uint32
	errno unix.Errno
	text  string
}

// outcome reads the answers to a batch, all of them, so that none is left for the next one. The order is the
// kernel's: an error of the transaction as a whole, then those of single messages and the acknowledgement as the
// messages were.
func (c *Conn) outcome(b *batch, tx *ruleset.Tx) error {
	var first *refusal
	var broken error
	acknowledged := false
	for {
		wait := answerTimeout
		if acknowledged || first != nil || broken != nil {
			wait = 0
		}
		n, err := c.sock.receive(c.in, wait)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err != nil {
			// ENOBUFS says that answers were dropped; those that were not can still be read.
			if broken = errors.Join(broken, err); !errors.Is(err, unix.ENOBUFS) {
				break
			}
			continue
		}
		for m := range messages(c.in[:n]) {
			if m.seq-b.seq > b.next-b.seq {
				continue
			}
			r, ok := readRefusal(m)
			switch {
			case !ok:
			case r.errno != 0 && first == nil:
				first = &r
			case r.errno == 0 && m.seq == b.next-1:
				acknowledged = true
			}
		}
	}
	switch {
	case first != nil:
		return refused(b, tx, first)
	case broken != nil:
		return fmt.Errorf("commit: %w: %w", ErrUnknown, broken)
	case !acknowledged:
		return fmt.Errorf("commit: no acknowledgement: %w", ErrUnknown)
	}
	return nil
}

// refused makes the error for a transaction that the kernel refused.
func refused(b *batch, tx *ruleset.Tx, r *refusal) error {
	what := "the transaction"
	if k, ok := b.opAt(r.seq); ok {
		what = describe(tx.Ops[k])
	}
	var cause error = r.errno
	if errors.Is(cause, unix.EPERM) {
		cause = explain(cause)
	}
	if r.text != "" {
		return fmt.Errorf("commit: %s: %w (%s)", what, cause, r.text)
	}
	return fmt.Errorf("commit: %s: %w", what, cause)
}

// readRefusal reads an error message; an acknowledgement is one with number zero.
func readRefusal(m message) (refusal, bool) {
	const fixed = 4 + headerLen
	if m.typ != unix.NLMSG_ERROR || len(m.body) < fixed {
		return refusal{}, false
	}
	r := refusal{seq: m.seq, errno: unix.Errno(-int32(binary.NativeEndian.Uint32(m.body)))}
	rest := m.body[fixed:]
	if m.flags&unix.NLM_F_CAPPED == 0 {
		// The rest of the message that failed is in between.
		n := int(binary.NativeEndian.Uint32(m.body[4:])) - headerLen
		rest = rest[min(max(align4(n), 0), len(rest)):]
	}
	if m.flags&unix.NLM_F_ACK_TLVS != 0 {
		for typ, val := range attributes(rest) {
			if typ == unix.NLMSGERR_ATTR_MSG {
				r.text = cString(val)
			}
		}
	}
	return r, true
}

// describe names an operation and its object in a few words.
func describe(op ruleset.Op) string {
	switch op := op.(type) {
	case ruleset.AddTable:
		return "add table " + op.Table
	case ruleset.DelTable:
		return "delete table " + op.Table
	case ruleset.AddChain:
		return "add chain " + op.Chain.Name
	case ruleset.DelChain:
		return "delete chain " + op.Chain
	case ruleset.FlushChain:
		return "flush chain " + op.Chain
	case ruleset.AddRule:
		if op.Rule.Comment == "" {
			return "add rule in chain " + op.Chain
		}
		return fmt.Sprintf("add rule in chain %s (%s)", op.Chain, op.Rule.Comment)
	case ruleset.AddSet:
		return "add set " + op.Set.Name
	case ruleset.DelSet:
		return "delete set " + op.Set
	case ruleset.AddElems:
		return fmt.Sprintf("add %s of set %s", countElems(op.Elems), op.Set.Name)
	case ruleset.DelElems:
		return fmt.Sprintf("delete %s of set %s", countElems(op.Elems), op.Set.Name)
	}
	return fmt.Sprintf("operation %T", op)
}

func countElems(elems []ruleset.ElemVerdict) string {
	if len(elems) == 1 {
		e := elems[0].Elem
		if !e.A.IsValid() {
			return fmt.Sprintf("element %d . %d", e.Proto, e.Port)
		}
		return fmt.Sprintf("element %s", e.A)
	}
	return fmt.Sprintf("%d elements", len(elems))
}
