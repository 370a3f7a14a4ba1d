package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// request sends one request and calls each with the attributes of every message of the answer. The attributes are valid
// only during that call.
func (c *Conn) request(typ, flags uint16, attrs func(*writer), each func(body []byte) error) error {
	c.seq++
	w := writer{b: c.out[:0]}
	if flags&unix.NLM_F_DUMP == 0 {
		flags |= unix.NLM_F_ACK
	}
	at := w.begin(unix.NFNL_SUBSYS_NFTABLES<<8|typ, unix.NLM_F_REQUEST|flags, c.seq, unix.NFPROTO_INET, 0)
	if attrs != nil {
		attrs(&w)
	}
	w.end(at)
	c.out = w.b
	if w.err != nil {
		return w.err
	}
	if err := c.sock.send(w.b); err != nil {
		return err
	}
	a := answer{seq: c.seq, each: each}
	for !a.done {
		n, err := c.sock.receive(c.in, answerTimeout)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("no answer from nf_tables: %w", err)
		}
		if err != nil {
			return errors.Join(a.err, err)
		}
		for m := range messages(c.in[:n]) {
			a.message(m)
		}
	}
	return a.err
}

// answer collects the answer to one request. After an error it goes on to the end, so that nothing is left in the socket.
type answer struct {
	seq  uint32
	each func(body []byte) error
	done bool
	err  error
}

func (a *answer) message(m message) {
	if m.seq != a.seq || a.done {
		return
	}
	if m.flags&unix.NLM_F_DUMP_INTR != 0 && a.err == nil {
		a.err = errInterrupted
	}
	switch m.typ {
	case unix.NLMSG_ERROR:
		a.done = true
		if r, ok := readRefusal(m); ok && r.errno != 0 && a.err == nil {
			a.err = r.errno
		}
	case unix.NLMSG_DONE:
		a.done = true
		if len(m.body) >= 4 && a.err == nil {
			if code := int32(binary.NativeEndian.Uint32(m.body)); code < 0 {
				a.err = unix.Errno(-code)
			}
		}
	default:
		if a.err == nil && len(m.body) >= genmsgLen {
			a.err = a.each(m.body[genmsgLen:])
		}
	}
}

const (
	readAttempts = 20
	readPause    = 2 * time.Millisecond
)

// retryRead repeats a read that a change interrupted, with a growing pause.
func retryRead(read func() error) error {
	for k := range readAttempts {
		err := read()
		if !errors.Is(err, errInterrupted) && !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.EAGAIN) {
			return err
		}
		<-time.After(time.Duration(k) * readPause)
	}
	return fmt.Errorf("%w (%d attempts)", ErrUnstable, readAttempts)
}
