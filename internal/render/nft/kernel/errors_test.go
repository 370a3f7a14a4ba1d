package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netpol-agent/netpol-agent/internal/render/nft/change"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/ruleset"
	"github.com/netpol-agent/netpol-agent/test/nft/compare"
	"github.com/netpol-agent/netpol-agent/test/testns"
)

// TestRefusalNamesTheOperation checks that an error names the operation that the kernel refused first, that no part of
// the transaction took effect, and that the next transaction works.
func TestRefusalNamesTheOperation(t *testing.T) {
	c := newNamespace(t).open(t)
	rs := sample()
	table := mustLoad(t, c, rs)
	web := &ruleset.Chain{Name: "in/web"}
	pods := rs.Sets["pods4"]
	missing := rule(accept(), "shop/web ingress 7", ruleset.InSet{Family: ruleset.V4, Set: "nosuch"})
	toNowhere := ruleset.ElemVerdict{Elem: elem("10.9.9.9"), Verdict: jump("nosuch")}
	for _, tc := range []struct {
		op    change.Op
		errno unix.Errno
		want  string
	}{
		{change.AddTable{Table: table}, unix.EEXIST, "add table " + table},
		{change.DelTable{Table: "nosuch"}, unix.ENOENT, "delete table nosuch"},
		{change.AddChain{Table: table, Chain: web}, unix.EEXIST, "add chain in/web"},
		{change.DelChain{Table: table, Chain: "nosuch"}, unix.ENOENT, "delete chain nosuch"},
		{change.DelChain{Table: table, Chain: "in/web"}, unix.EBUSY, "delete chain in/web"},
		{change.FlushChain{Table: table, Chain: "nosuch"}, unix.ENOENT, "flush chain nosuch"},
		{change.AddRule{Table: table, Chain: "in/web", Rule: missing}, unix.ENOENT,
			"add rule in chain in/web (shop/web ingress 7)"},
		{change.AddSet{Table: table, Set: pods}, unix.EEXIST, "add set pods4"},
		{change.DelSet{Table: table, Set: "pods4"}, unix.EBUSY, "delete set pods4"},
		{change.AddElems{Table: table, Set: pods, Elems: []ruleset.ElemVerdict{{Elem: elem("10.244.1.2")}}}, unix.EEXIST,
			"add element 10.244.1.2 of set pods4"},
		{change.DelElems{Table: table, Set: pods, Elems: []ruleset.ElemVerdict{{Elem: elem("10.9.9.9")}}}, unix.ENOENT,
			"delete element 10.9.9.9 of set pods4"},
		{change.AddElems{Table: table, Set: rs.Sets["dispatch4"], Elems: []ruleset.ElemVerdict{toNowhere}}, unix.ENOENT,
			"add element 10.9.9.9 of set dispatch4"},
	} {
		// Valid operations surround the refused one. Those after it would fail too if the error did not name the first
		// refusal.
		err := c.Commit(&change.Tx{Ops: []change.Op{
			change.AddChain{Table: table, Chain: &ruleset.Chain{Name: "new"}}, tc.op,
			change.AddChain{Table: table, Chain: &ruleset.Chain{Name: "new"}},
			change.AddChain{Table: table, Chain: &ruleset.Chain{Name: "another"}},
		}})
		if err == nil || !errors.Is(err, tc.errno) || !strings.Contains(err.Error(), tc.want) || errors.Is(err, ErrUnknown) {
			t.Errorf("%s: got %v, want %v", tc.want, err, tc.errno)
		}
		if d := compare.Difference(rs, mustRead(t, c, table)); d != "" {
			t.Fatalf("after %q the kernel's content has changed:\n%s", err, d)
		}
	}
	// The kernel looks for loops only if all messages are valid.
	loop := change.AddRule{Table: table, Chain: "in/dns", Rule: rule(jump("in/dns"), "")}
	err := c.Commit(&change.Tx{Ops: []change.Op{change.FlushChain{Table: table, Chain: "in/web"}, loop}})
	if !errors.Is(err, unix.ELOOP) && !errors.Is(err, unix.EMLINK) {
		t.Errorf("loop: %v", err)
	}
	t.Logf("a loop: %v", err)
	if d := compare.Difference(rs, mustRead(t, c, table)); d != "" {
		t.Error(d)
	}
}

// TestInvalidValuesAreNotSent checks that a value that has no form in the kernel is an error, and is not sent as
// something else.
func TestInvalidValuesAreNotSent(t *testing.T) {
	sock := &fakeSocket{}
	c := newConn(sock)
	set := func(s ruleset.Set, e ruleset.ElemVerdict) change.Op {
		return change.AddElems{Set: &s, Elems: []ruleset.ElemVerdict{e}}
	}
	match := func(m ...ruleset.Match) change.Op { return change.AddRule{Rule: ruleset.Rule{Matches: m}} }
	for name, op := range map[string]change.Op{
		"host bits":        match(ruleset.InPrefix{Prefix: cidr("10.1.2.3/8")}),
		"no prefix":        match(ruleset.InPrefix{}),
		"ports reversed":   match(ruleset.DstPort{Protocol: 6, First: 2, Last: 1}),
		"ports of ICMP":    match(ruleset.DstPort{Protocol: 1, First: 1, Last: 1}),
		"types reversed":   match(ruleset.ICMPv6Types{First: 2, Last: 1}),
		"no family":        match(ruleset.IsFamily{}),
		"set no family":    match(ruleset.InSet{Set: "s"}),
		"pair no family":   match(ruleset.AddrPairInSet{Set: "s"}),
		"foreign":          match(ruleset.Foreign{Note: "x"}),
		"vmap not last":    match(ruleset.AddrVerdict{Family: ruleset.V4, Map: "m"}, ruleset.CtEstablished{}),
		"jump to nothing":  change.AddRule{Rule: rule(jump(""), "")},
		"accept to chain":  change.AddRule{Rule: rule(ruleset.Verdict{Kind: ruleset.Accept, Chain: "c"}, "")},
		"long comment":     change.AddRule{Rule: rule(accept(), strings.Repeat("x", 129))},
		"zero in comment":  change.AddTable{Comment: "a\x00b"},
		"foreign hook":     change.AddChain{Chain: &ruleset.Chain{Hook: &ruleset.Hook{Point: ruleset.ForeignHook}}},
		"foreign set":      change.AddSet{Set: &ruleset.Set{Type: ruleset.ForeignType}},
		"interval of pair": change.AddSet{Set: &ruleset.Set{Type: ruleset.Addr4Pair, Interval: true}},
		"other family":     set(ruleset.Set{}, ruleset.ElemVerdict{Elem: elem("fd00::1")}),
		"no address":       set(ruleset.Set{}, ruleset.ElemVerdict{}),
		"port in address":  set(ruleset.Set{}, ruleset.ElemVerdict{Elem: ruleset.Elem{A: addr("10.0.0.1"), Port: 1}}),
		"zone":             set(ruleset.Set{Type: ruleset.Addr6}, ruleset.ElemVerdict{Elem: elem("fe80::1%eth0")}),
		"verdict in set":   set(ruleset.Set{}, ruleset.ElemVerdict{Elem: elem("10.0.0.1"), Verdict: drop()}),
		"reversed":         set(ruleset.Set{Interval: true}, ruleset.ElemVerdict{Elem: span("10.0.0.2", "10.0.0.1")}),
		"no end":           set(ruleset.Set{Interval: true}, ruleset.ElemVerdict{Elem: elem("10.0.0.2")}),
		"mixed families":   set(ruleset.Set{Interval: true}, ruleset.ElemVerdict{Elem: span("10.0.0.2", "fd00::")}),
	} {
		if err := c.Commit(&change.Tx{Ops: []change.Op{op}}); err == nil || errors.Is(err, ErrUnknown) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if sock.sent > 0 {
		t.Errorf("%d datagrams were sent", sock.sent)
	}
	for _, tx := range []*change.Tx{nil, {}, {Ops: []change.Op{change.AddElems{Set: &ruleset.Set{}}}}} {
		if err := c.Commit(tx); err != nil || sock.sent > 0 {
			t.Errorf("an empty transaction: %v, sent %d", err, sock.sent)
		}
	}
}

// TestPermission opens a connection on a thread without CAP_NET_ADMIN.
func TestPermission(t *testing.T) {
	if os.Geteuid() != 0 {
		testns.Cannot(t, "needs root to give up a capability")
	}
	done := make(chan error)
	go func() {
		// The thread ends with the goroutine.
		runtime.LockOSThread()
		if err := dropNetAdmin(); err != nil {
			done <- fmt.Errorf("cannot give up CAP_NET_ADMIN: %w", err)
			return
		}
		c, err := Open()
		if err == nil {
			_ = c.Close()
		}
		done <- err
	}()
	err := <-done
	if !errors.Is(err, ErrPermission) || !strings.Contains(err.Error(), "needs CAP_NET_ADMIN") ||
		strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v", err)
	}
}

func dropNetAdmin() error {
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&head, &data[0]); err != nil {
		return err
	}
	data[0].Effective &^= 1 << unix.CAP_NET_ADMIN
	return unix.Capset(&head, &data[0])
}

// TestErrorsOfOpen checks the errors for error numbers that cannot be provoked on this machine.
func TestErrorsOfOpen(t *testing.T) {
	for errno, want := range map[syscall.Errno]error{
		unix.EPROTONOSUPPORT: ErrNoNFTables, // no nfnetlink
		unix.EINVAL:          ErrNoNFTables, // no nf_tables within it
		unix.EPERM:           ErrPermission,
	} {
		err := explain(os.NewSyscallError("socket", errno))
		if !errors.Is(err, want) || !errors.Is(err, errno) {
			t.Errorf("%v: %v", errno, err)
		}
	}
	if err := explain(unix.EMFILE); !errors.Is(err, unix.EMFILE) || errors.Is(err, ErrNoNFTables) {
		t.Errorf("EMFILE: %v", err)
	}
}

// TestSmallBuffers checks that a transaction that does not fit is refused as such, and that lost answers are not taken
// as success.
func TestSmallBuffers(t *testing.T) {
	ns := newNamespace(t)
	big, small := ns.open(t), ns.open(t, withBuffer(4096))
	rs := sample()
	table := mustLoad(t, big, rs)
	tx := &change.Tx{}
	for k := range 1000 {
		tx.Add(change.AddChain{Table: table, Chain: &ruleset.Chain{Name: fmt.Sprint("c", k)}})
	}
	if err := small.Commit(tx); !errors.Is(err, ErrTooLarge) || errors.Is(err, ErrUnknown) {
		t.Errorf("large transaction: %v", err)
	}
	// Each of these fails and is answered: more than the small receive buffer holds.
	tx = &change.Tx{}
	for range 60 {
		tx.Add(change.FlushChain{Table: table, Chain: "no"})
	}
	if err := small.Commit(tx); !errors.Is(err, unix.ENOENT) {
		t.Errorf("many refusals: %v", err)
	}
	commit(t, small, change.AddChain{Table: table, Chain: &ruleset.Chain{Name: "after"}})
	rs.Chains["after"] = &ruleset.Chain{Name: "after"}
	if d := compare.Difference(rs, mustRead(t, small, table)); d != "" {
		t.Error(d)
	}
}

// fakeSocket answers what a test specifies.
type fakeSocket struct {
	sent    int
	answers func(sent []byte) []any // datagrams ([]byte) and errors
	queue   []any
}

func (f *fakeSocket) send(b []byte) error {
	f.sent++
	if f.answers != nil {
		f.queue = append(f.queue, f.answers(b)...)
	}
	return nil
}

func (f *fakeSocket) receive(b []byte, _ time.Duration) (int, error) {
	if len(f.queue) == 0 {
		return 0, os.ErrDeadlineExceeded
	}
	next := f.queue[0]
	f.queue = f.queue[1:]
	switch next := next.(type) {
	case error:
		return 0, next
	case []byte:
		return copy(b, next), nil
	}
	return 0, errors.New("test: neither datagram nor error")
}

func (f *fakeSocket) Close() error { return nil }

// ackOf returns the answer, with an error number, to the message of b with an index.
func ackOf(b []byte, index int, errno unix.Errno) []byte {
	k := 0
	for m := range messages(b) {
		if k == index {
			var w writer
			at := w.begin(unix.NLMSG_ERROR, unix.NLM_F_CAPPED, m.seq, 0, 0)
			w.b = w.b[:at+headerLen]
			w.b = binary.NativeEndian.AppendUint32(w.b, uint32(-int32(errno)))
			w.b = append(w.b, b[:headerLen]...)
			w.end(at)
			return w.b
		}
		k++
	}
	return nil
}

// TestOutcome tries the possible answers to a transaction of two operations, messages one and two of the batch.
func TestOutcome(t *testing.T) {
	tx := &change.Tx{Ops: []change.Op{
		change.FlushChain{Table: "t", Chain: "a"}, change.FlushChain{Table: "t", Chain: "b"}}}
	enobufs := os.NewSyscallError("recvmsg", unix.ENOBUFS)
	for name, tc := range map[string]struct {
		answers func(b []byte) []any
		is      error
		text    string
	}{
		"done":           {func(b []byte) []any { return []any{ackOf(b, 2, 0)} }, nil, ""},
		"no answer":      {func([]byte) []any { return nil }, ErrUnknown, "read back"},
		"other's answer": {func(b []byte) []any { return []any{ackOf(b, 1, 0)} }, ErrUnknown, ""},
		"lost answer":    {func([]byte) []any { return []any{enobufs} }, ErrUnknown, ""},
		"lost some":      {func(b []byte) []any { return []any{enobufs, ackOf(b, 2, 0)} }, ErrUnknown, ""},
		"lost others":    {func(b []byte) []any { return []any{enobufs, ackOf(b, 1, unix.ENOENT)} }, unix.ENOENT, "flush chain a"},
		"first of two": {func(b []byte) []any { return []any{ackOf(b, 1, unix.ENOENT), ackOf(b, 2, unix.EBUSY)} },
			unix.ENOENT, "flush chain a"},
		"second":   {func(b []byte) []any { return []any{ackOf(b, 2, unix.EBUSY)} }, unix.EBUSY, "flush chain b"},
		"as whole": {func(b []byte) []any { return []any{ackOf(b, 0, unix.ENOMEM), ackOf(b, 2, 0)} }, unix.ENOMEM, "the transaction"},
		"no right": {func(b []byte) []any { return []any{ackOf(b, 0, unix.EPERM)} }, ErrPermission, ""},
		"garbage":  {func([]byte) []any { return []any{[]byte{1, 2, 3}} }, ErrUnknown, ""},
	} {
		t.Run(name, func(t *testing.T) {
			sock := &fakeSocket{answers: tc.answers}
			c := newConn(sock)
			err := c.Commit(tx)
			if !errors.Is(err, tc.is) || err != nil && !strings.Contains(err.Error(), tc.text) {
				t.Errorf("got %v", err)
			}
			if errors.Is(err, ErrUnknown) != errors.Is(tc.is, ErrUnknown) {
				t.Errorf("whether the outcome is known: %v", err)
			}
			// These answers must not disturb the next transaction.
			sock.answers = func(b []byte) []any { return []any{ackOf(b, 2, 0)} }
			if err := c.Commit(tx); err != nil {
				t.Errorf("the next transaction: %v", err)
			}
		})
	}
}

// TestLateAnswer checks that the answer to an earlier transaction is not taken as the answer to the next.
func TestLateAnswer(t *testing.T) {
	tx := &change.Tx{Ops: []change.Op{change.FlushChain{Table: "t", Chain: "a"}}}
	var late []byte
	sock := &fakeSocket{answers: func(b []byte) []any { late = ackOf(b, 1, 0); return nil }}
	c := newConn(sock)
	if err := c.Commit(tx); !errors.Is(err, ErrUnknown) {
		t.Fatal(err)
	}
	sock.answers = func(b []byte) []any { return []any{late, ackOf(b, 1, unix.EBUSY)} }
	if err := c.Commit(tx); !errors.Is(err, unix.EBUSY) {
		t.Errorf("got %v", err)
	}
}
