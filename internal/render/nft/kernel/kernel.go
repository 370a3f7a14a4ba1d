// Package kernel connects ruleset values to the nf_tables of one network namespace. It decides how a value is written as
// netlink messages, in the form that the nft tool lists naturally and that costs a new connection the fewest instructions;
// how messages are read back; and what a transaction's outcome was: done, refused with the kernel unchanged, or unknown.
//
// It does not decide what rules there should be, what a transaction contains or what to do after a failure, and it runs no
// nft binary. It never waits for anything but the kernel and keeps no copy of the ruleset.
//
// Messages are encoded here and not by github.com/google/nftables, because its connection acknowledges and echoes every
// message (seven times slower for a whole node) and its expression types are pointers to slices, which cannot be compared.
// Rules are decoded by comparing. The tests check the encoding against that library and the nft tool.
package kernel

import (
	"encoding/binary"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// Conn is a lasting connection to nf_tables. Its methods may be called from several goroutines; they run one after the
// other.
type Conn struct {
	mu   sync.Mutex
	sock transport
	// seq is the sequence number of the last message sent. It tells whose answer an answer is.
	seq uint32
	out []byte
	in  []byte
}

type options struct {
	netns  int
	buffer int
}

// Option changes what Open does.
type Option func(*options)

// WithNetNS makes Open connect to the network namespace of an open file descriptor instead of the current one. The
// descriptor is needed only during Open.
func WithNetNS(fd int) Option { return func(o *options) { o.netns = fd } }

// socketBuffer bounds the size of a transaction, which the kernel accepts only as a whole, and of the answers to it.
const socketBuffer = 64 << 20

// receiveBuffer is larger than the 32 KiB that the kernel fills per dump message if the reader has room.
const receiveBuffer = 64 << 10

// Open connects to nf_tables and checks that it may be used. errors.Is distinguishes ErrPermission and ErrNoNFTables.
func Open(opts ...Option) (*Conn, error) {
	o := options{buffer: socketBuffer}
	for _, opt := range opts {
		opt(&o)
	}
	sock, err := dial(o)
	if err != nil {
		return nil, fmt.Errorf("connect to nf_tables: %w", explain(err))
	}
	c := newConn(sock)
	if _, err := c.Generation(); err != nil {
		_ = sock.Close()
		return nil, fmt.Errorf("connect to nf_tables: %w", explain(err))
	}
	return c, nil
}

func newConn(sock transport) *Conn {
	return &Conn{sock: sock, in: make([]byte, receiveBuffer)}
}

// Close ends the connection. The rules stay.
func (c *Conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sock.Close()
}

// Generation returns the number that the kernel increments with each transaction on any table of the namespace.
func (c *Conn) Generation() (uint32, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.generation()
}

func (c *Conn) generation() (uint32, error) {
	var id uint32
	err := c.request(unix.NFT_MSG_GETGEN, 0, nil, func(body []byte) error {
		for typ, val := range attributes(body) {
			if typ == unix.NFTA_GEN_ID && len(val) == 4 {
				id = binary.BigEndian.Uint32(val)
			}
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("read nf_tables generation: %w", err)
	}
	return id, nil
}
