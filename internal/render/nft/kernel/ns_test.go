package kernel

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"os/exec"
	"strings"
	"testing"

	"github.com/netpol-agent/netpol-agent/internal/render/nft/change"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/ruleset"
	"github.com/netpol-agent/netpol-agent/test/testns"
)

// namespace is a network namespace that lives as long as its test.
type namespace struct{ *testns.NS }

func newNamespace(tb testing.TB) namespace {
	tb.Helper()
	return namespace{testns.New(tb)}
}

// run calls f on a thread inside the namespace. f must not end the test.
func (n namespace) run(tb testing.TB, f func() error) {
	tb.Helper()
	if err := n.Run(f); err != nil {
		tb.Fatal(err)
	}
}

// command runs a program inside the namespace and returns its output and whether it failed.
func (n namespace) command(tb testing.TB, name string, args ...string) (string, error) {
	tb.Helper()
	if _, err := exec.LookPath(name); err != nil {
		testns.Cannot(tb, "needs the %s tool", name)
	}
	var out bytes.Buffer
	var failed error
	n.run(tb, func() error {
		cmd := exec.Command(name, args...)
		cmd.Stdout, cmd.Stderr = &out, &out
		failed = cmd.Run()
		return nil
	})
	return out.String(), failed
}

// must is command for programs that must succeed.
func (n namespace) must(tb testing.TB, name string, args ...string) string {
	tb.Helper()
	out, err := n.command(tb, name, args...)
	if err != nil {
		tb.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

func (n namespace) open(tb testing.TB, opts ...Option) *Conn {
	tb.Helper()
	c, err := Open(append(opts, WithNetNS(n.FD()))...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := c.Close(); err != nil {
			tb.Errorf("close: %v", err)
		}
	})
	return c
}

// withBuffer sets the size in bytes of the socket buffers.
func withBuffer(bytes int) Option { return func(o *options) { o.buffer = bytes } }

// randomTable returns a table name that nobody else uses.
func randomTable() string {
	var b [6]byte
	_, _ = rand.Read(b[:])
	return "test-" + hex.EncodeToString(b[:])
}

// load returns the transaction that creates a table with the content of rs.
func load(table string, rs *ruleset.Ruleset) *change.Tx {
	tx := &change.Tx{}
	tx.Add(change.AddTable{Table: table, Comment: "made by a test"})
	update, prune := change.Diff(table, ruleset.New(), rs, nil)
	tx.Add(update.Ops...)
	tx.Add(prune.Ops...)
	return tx
}

func commit(tb testing.TB, c *Conn, ops ...change.Op) {
	tb.Helper()
	if err := c.Commit(&change.Tx{Ops: ops}); err != nil {
		tb.Fatal(err)
	}
}

// mustLoad creates a table with the content of rs.
func mustLoad(tb testing.TB, c *Conn, rs *ruleset.Ruleset) string {
	tb.Helper()
	table := randomTable()
	commit(tb, c, load(table, rs).Ops...)
	return table
}

// mustRead reads a table that exists.
func mustRead(tb testing.TB, c *Conn, table string) *ruleset.Ruleset {
	tb.Helper()
	rs, found, err := c.Read(table)
	if err != nil || !found {
		tb.Fatalf("read: found %t, %v", found, err)
	}
	return rs
}
