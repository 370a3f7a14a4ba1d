// Package kernel is the edge between ruleset values and the nf_tables of one network namespace. It decides how
// a value is written as netlink messages, in the form in which the nft tool lists it naturally and in which a
// new connection costs the fewest instructions; how messages are read back; and what a transaction's outcome was:
// done, refused with the kernel unchanged, or unknown.
//
// It does not decide what rules there should be, what a transaction contains or what to do after a failure, and it
// runs no nft binary. It never waits for anything but the kernel and keeps no copy of the ruleset.
//
// Messages are encoded here and not by github.com/google/nftables, because its connection acknowledges and echoes
// every message (seven times slower for a whole node) and its expression types are pointers to slices, which cannot
// be compared; comparing is how a rule is decoded. The tests hold the encoding against that library and the nft tool.
package kernel

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Conn is a lasting connection to nf_tables. Its methods may be called from several goroutines; they run one
// after the other.
type Conn struct {
	mu   sync.Mutex
	sock transport
	// seq is the sequence number of the last message sent, so that no answer is mistaken for another's.
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

// WithNetNS connects to the network namespace behind an open file descriptor instead of the current one. The
// descriptor is needed only during Open.
func WithNetNS(fd int) Option { return func(o *options) { o.netns = fd } }

// withBuffer sets the size in bytes of the socket buffers, for tests of what happens when they are small.
func withBuffer(bytes int) Option { return func(o *options) { o.buffer = bytes } }

// socketBuffer bounds the size of a transaction, which the kernel takes only as a whole, and of the answers to it.
const socketBuffer = 64 << 20

// receiveBuffer is above the 32 KiB that the kernel fills per dump message when the reader has room for it.
const receiveBuffer = 64 << 10

// Open connects to nf_tables and checks that it may be used. errors.Is tells ErrPermission and ErrNoNFTables.
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

// Generation gives the number that the kernel increments with each transaction on any table of the namespace.
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

// Tables gives the names, sorted, of all tables of family inet that begin with prefix.
func (c *Conn) Tables(prefix string) ([]string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var names []string
	err := retryRead(func() error {
		names = names[:0]
		return c.request(unix.NFT_MSG_GETTABLE, unix.NLM_F_DUMP, nil, func(body []byte) error {
			for typ, val := range attributes(body) {
				if typ == unix.NFTA_TABLE_NAME && strings.HasPrefix(cString(val), prefix) {
					names = append(names, cString(val))
				}
			}
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("list tables: %w", err)
	}
	slices.Sort(names)
	return names, nil
}
