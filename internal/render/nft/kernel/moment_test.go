package kernel

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/netpol-agent/netpol-agent/internal/render/nft/change"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/ruleset"
	"github.com/netpol-agent/netpol-agent/test/nft/compare"
)

// interrupted is a transport on which something happens before a given message.
type interrupted struct {
	transport
	left   int
	happen func()
}

func (s *interrupted) send(b []byte) error {
	if s.left == 0 {
		s.happen()
	}
	s.left--
	return s.transport.send(b)
}

// TestCommitDuringRead has another connection replace the content, several times before each message of a read in turn.
// The read continues when the kernel has raised the generation but not yet replaced the content, and must return the
// new content.
func TestCommitDuringRead(t *testing.T) {
	ns := newNamespace(t)
	writer, watcher, reader := ns.open(t), ns.open(t), ns.open(t)
	content := [2]*ruleset.Ruleset{made(size{chains: 20, rulesPerChain: 4, sets: 10, elems: 200}), sample()}
	table, other := mustLoad(t, writer, content[0]), mustLoad(t, writer, ruleset.New())
	direct := reader.sock
	defer func() { reader.sock = direct }()
	const times = 10
	for k := 0; ; k++ {
		want := content[(k+1)%2]
		tx := slowReplacement(table, want, other, k)
		done := make(chan error, 1)
		happened := false
		reader.sock = &interrupted{transport: direct, left: k / times, happen: func() {
			happened = true
			before := generation(t, watcher)
			go func() { done <- writer.Commit(tx) }()
			for end := time.Now().Add(10 * time.Second); generation(t, watcher) == before; {
				if time.Now().After(end) {
					t.Fatal("the commit does not start")
				}
			}
		}}
		got := mustRead(t, reader, table)
		if !happened {
			t.Logf("a read has %d messages", k/times)
			if k < 10*times {
				t.Error("the read is too short to prove anything")
			}
			return
		}
		if err := <-done; err != nil {
			t.Fatalf("replace: %v", err)
		}
		if d := compare.Difference(want, got); d != "" {
			t.Errorf("replaced before message %d:\n%.2000s", k/times, d)
		}
	}
}

// TestReadIsOneMoment reads while transactions replace the content. Each read must return the content before or after a
// transaction, or the error that it could not be read.
func TestReadIsOneMoment(t *testing.T) {
	ns := newNamespace(t)
	writer, reader := ns.open(t), ns.open(t)
	first, second := made(size{chains: 20, rulesPerChain: 4, sets: 10, elems: 200}), sample()
	table, other := mustLoad(t, writer, first), mustLoad(t, writer, ruleset.New())
	stop := make(chan struct{})
	var wg sync.WaitGroup
	finish := sync.OnceFunc(func() { close(stop); wg.Wait() })
	defer finish()
	wg.Go(func() {
		content := [2]*ruleset.Ruleset{first, second}
		for k := 0; ; k++ {
			select {
			case <-stop:
				return
			case <-time.After(3 * time.Millisecond):
			}
			if err := writer.Commit(slowReplacement(table, content[(k+1)%2], other, k)); err != nil {
				t.Errorf("replace: %v", err)
				return
			}
		}
	})
	reads, seen := 0, [2]int{}
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); reads++ {
		got, found, err := reader.Read(table)
		switch {
		case errors.Is(err, ErrUnstable):
		case err != nil || !found:
			t.Fatalf("read: found %t, %v", found, err)
		case compare.Equal(first, got):
			seen[0]++
		case compare.Equal(second, got):
			seen[1]++
		default:
			t.Fatalf("a mixture; compared with the first content:\n%.2000s\nwith the second:\n%.2000s",
				compare.Difference(first, got), compare.Difference(second, got))
		}
	}
	finish()
	t.Logf("%d reads returned %v", reads, seen)
	if seen[0] == 0 || seen[1] == 0 {
		t.Errorf("of %d reads %v succeeded: the test proves nothing", reads, seen)
	}
}

// slowReplacement returns the k-th transaction that replaces a table. It first adds chains to another table, or deletes
// them, so that the kernel is busy for a while before it reaches the replacement.
func slowReplacement(table string, rs *ruleset.Ruleset, other string, k int) *change.Tx {
	tx := &change.Tx{}
	for j := range 3000 {
		name := fmt.Sprintf("c/%d", j)
		if k%2 == 0 {
			tx.Add(change.AddChain{Table: other, Chain: &ruleset.Chain{Name: name}})
		} else {
			tx.Add(change.DelChain{Table: other, Chain: name})
		}
	}
	tx.Add(change.DelTable{Table: table})
	tx.Add(load(table, rs).Ops...)
	return tx
}
