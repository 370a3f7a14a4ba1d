package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netpol-agent/netpol-agent/internal/render/nft/change"
)

// answerTimeout bounds the wait for an answer. The kernel answers before a send returns, so the time passes only if an
// answer was lost.
const answerTimeout = 5 * time.Second

// keepBuffer is the largest buffer kept for the next transaction.
const keepBuffer = 1 << 20

// Commit makes the kernel carry out a transaction. If it returns nil, all of it is done. If errors.Is(err, ErrUnknown),
// the kernel has done all of it or nothing, and must be read. After every other error it has done nothing; the error
// names the operation that was refused first and unwraps to the kernel's error number.
func (c *Conn) Commit(tx *change.Tx) error {
	if tx.Empty() {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	b := newBatch(c.out, c.seq+1)
	for k, op := range tx.Ops {
		if err := b.add(k, op); err != nil {
			return fmt.Errorf("commit: %s: %w", change.Summary(op), err)
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

// outcome reads all answers to a batch, so that none is left for the next one. They come in the kernel's order: first an
// error of the transaction as a whole, then errors of single messages and the acknowledgement, in the order of messages.
func (c *Conn) outcome(b *batch, tx *change.Tx) error {
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
			// ENOBUFS means that answers were dropped. The others can still be read.
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

// refused returns the error for a transaction that the kernel refused.
func refused(b *batch, tx *change.Tx, r *refusal) error {
	what := "the transaction"
	if k, ok := b.opAt(r.seq); ok {
		what = change.Summary(tx.Ops[k])
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

// readRefusal reads an error message. An acknowledgement is one with number zero.
func readRefusal(m message) (refusal, bool) {
	const fixed = 4 + headerLen
	if m.typ != unix.NLMSG_ERROR || len(m.body) < fixed {
		return refusal{}, false
	}
	r := refusal{seq: m.seq, errno: unix.Errno(-int32(binary.NativeEndian.Uint32(m.body)))}
	rest := m.body[fixed:]
	if m.flags&unix.NLM_F_CAPPED == 0 {
		// The rest of the failed message is in between.
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
