package lab

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Priorities of the witness's base chains. The witness can only tell what is judged between them: iptables is at 0, our
// nftables table at 5.
const (
	beforePriority = -1
	afterPriority  = 6
)

// witnessTable logs every packet twice: before and after the priority at which policies are enforced.
const witnessTable = `
table inet witness {
	chain forward-before {
		type filter hook forward priority %[1]d
		log prefix "before" group %[3]d
	}
	chain forward-after {
		type filter hook forward priority %[2]d
		log prefix "after" group %[3]d
	}
	chain output-before {
		type filter hook output priority %[1]d
		log prefix "before" group %[3]d
	}
	chain output-after {
		type filter hook output priority %[2]d
		log prefix "after" group %[3]d
	}
}
`

const logGroup = 7

// Sight is how often packets were seen before and after the place where policies are enforced.
type Sight struct{ Before, After int }

// Witness observes what happens to packets in the node's forward and output hooks. It shows at once that a packet is
// dropped: it arrives before the enforcement point and not after it. Nobody has to wait for a timeout.
type Witness struct {
	node  *Namespace
	conn  *netlink.Conn
	ended chan struct{}

	mu    sync.Mutex
	seen  []sighting
	err   error
	fresh chan struct{} // closed at the next sighting
}

type sighting struct {
	Packet
	after bool
}

// Witness starts to watch the node's hooks.
func (l *Lab) Witness() *Witness {
	l.t.Helper()
	return NewWitness(l.t, l.Node)
}

// NewWitness starts to watch a namespace's hooks, until the test ends.
func NewWitness(t testing.TB, n *Namespace) *Witness {
	t.Helper()
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: n.FD()})
	if err != nil {
		t.Fatalf("witness: connect: %v", err)
	}
	if err := conn.SetReadBuffer(16 << 20); err != nil {
		t.Fatalf("witness: buffer: %v", err)
	}
	for _, attrs := range bindLogGroup() {
		_, err := conn.Execute(netlink.Message{
			Header: netlink.Header{
				Type:  unix.NFNL_SUBSYS_ULOG<<8 | 1, // NFULNL_MSG_CONFIG
				Flags: netlink.Request | netlink.Acknowledge,
			},
			Data: append([]byte{unix.AF_UNSPEC, 0, 0, logGroup}, attrs...),
		})
		if err != nil {
			t.Fatalf("witness: bind to the log group: %v", err)
		}
	}
	// The rules come last. A packet that is logged while a request waits for its acknowledgement would be taken for the
	// answer ("mismatched sequence").
	n.NFT(t, fmt.Sprintf(witnessTable, beforePriority, afterPriority, logGroup))
	w := &Witness{node: n, conn: conn, fresh: make(chan struct{}), ended: make(chan struct{})}
	go func() {
		defer close(w.ended)
		w.read()
	}()
	t.Cleanup(w.hangUp)
	return w
}

func (w *Witness) hangUp() {
	_ = w.conn.Close()
	<-w.ended
}

// Close removes the witness before the test ends. It costs each packet more than the rules do.
func (w *Witness) Close(t testing.TB) {
	t.Helper()
	w.node.NFT(t, "delete table inet witness")
	w.hangUp()
}

// bindLogGroup returns the attributes of two configuration messages: one asks for the group's packets, the other asks
// for each packet immediately and in full.
func bindLogGroup() [][]byte {
	const (
		cmd, mode, threshold = 1, 2, 5 // NFULA_CFG_CMD, _MODE, _QTHRESH
		bind, packet         = 1, 2    // NFULNL_CFG_CMD_BIND, NFULNL_COPY_PACKET
	)
	encode := func(list ...netlink.Attribute) []byte {
		b, _ := netlink.MarshalAttributes(list) // fails only on attributes above 64 KiB
		return b
	}
	return [][]byte{
		encode(netlink.Attribute{Type: cmd, Data: []byte{bind}}),
		encode(
			netlink.Attribute{Type: mode, Data: []byte{0, 0, 1, 0, packet, 0}}, // 256 bytes
			netlink.Attribute{Type: threshold, Data: []byte{0, 0, 0, 1}},
		),
	}
}

func (w *Witness) read() {
	for {
		messages, err := w.conn.Receive()
		w.mu.Lock()
		if err != nil {
			w.err = err
		}
		for _, m := range messages {
			if s, ok := readSighting(m); ok {
				w.seen = append(w.seen, s)
			}
		}
		close(w.fresh)
		w.fresh = make(chan struct{})
		w.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func readSighting(m netlink.Message) (sighting, bool) {
	const packet, payload, prefix = 0, 9, 10 // NFULNL_MSG_PACKET, NFULA_PAYLOAD, NFULA_PREFIX
	var s sighting
	if m.Header.Type != unix.NFNL_SUBSYS_ULOG<<8|packet || len(m.Data) < 4 {
		return s, false
	}
	attrs, err := netlink.UnmarshalAttributes(m.Data[4:])
	if err != nil {
		return s, false
	}
	ok := false
	for _, a := range attrs {
		switch a.Type {
		case payload:
			s.Packet, ok = parse(a.Data)
		case prefix:
			s.after = strings.HasPrefix(string(a.Data), "after")
		}
	}
	return s, ok
}

// Reset forgets what was seen.
func (w *Witness) Reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen = nil
}

// Count returns how often the matching packets were seen.
func (w *Witness) Count(match func(*Packet) bool) (Sight, error) {
	s, _, err := w.count(match)
	return s, err
}

func (w *Witness) count(match func(*Packet) bool) (Sight, <-chan struct{}, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var s Sight
	for i := range w.seen {
		switch {
		case !match(&w.seen[i].Packet):
		case w.seen[i].after:
			s.After++
		default:
			s.Before++
		}
	}
	return s, w.fresh, w.err
}

// Key identifies packets that have an ID of their own.
type Key struct {
	Src, Dst netip.Addr
	Protocol uint8
	ID       uint16
}

// Key returns the packet's key.
func (p *Packet) Key() Key { return Key{p.Src, p.Dst, p.Protocol, p.ID} }

// Tally returns how often each packet was seen, and a channel that is closed when another one is seen.
func (w *Witness) Tally() (map[Key]Sight, <-chan struct{}, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := map[Key]Sight{}
	for i := range w.seen {
		k := w.seen[i].Key()
		s := out[k]
		if w.seen[i].after {
			s.After++
		} else {
			s.Before++
		}
		out[k] = s
	}
	return out, w.fresh, w.err
}

// settleTime is how long a packet may take from before to after. The kernel does both in one go, in far less than a
// millisecond unless the thread loses the processor in between.
const settleTime = 30 * time.Millisecond

// Await waits until the matching packets have been seen enough times before, and then until as many have been seen
// after or no more of them can be expected.
func (w *Witness) Await(ctx context.Context, enough int, match func(*Packet) bool) (Sight, error) {
	for {
		s, fresh, err := w.count(match)
		switch {
		case err != nil:
			return s, fmt.Errorf("witness: %w", err)
		case s.Before >= enough:
			return w.settle(ctx, match)
		}
		select {
		case <-fresh:
		case <-ctx.Done():
			return s, fmt.Errorf("the node saw %d of %d packets: %w", s.Before, enough, ctx.Err())
		}
	}
}

func (w *Witness) settle(ctx context.Context, match func(*Packet) bool) (Sight, error) {
	last := time.NewTimer(settleTime)
	defer last.Stop()
	for {
		s, fresh, err := w.count(match)
		if err != nil || s.After >= s.Before {
			return s, err
		}
		select {
		case <-fresh:
		case <-last.C:
			return w.Count(match)
		case <-ctx.Done():
			return s, ctx.Err()
		}
	}
}

// Dump logs what was seen, for a failed test.
func (w *Witness) Dump(t testing.TB, match func(*Packet) bool) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.seen {
		if s := &w.seen[i]; match(&s.Packet) {
			t.Logf("seen (after: %t): %s", s.after, s.Packet)
		}
	}
}
