package engine

import (
	"testing"
	"time"

	"github.com/netpol-agent/netpol-agent/internal/sync/source"
	"github.com/netpol-agent/netpol-agent/test/agenttest"
)

func TestQueueKeepsTheLatestStateAndTheFirstTime(t *testing.T) {
	q := NewQueue()
	first := time.Now()
	a, b := agenttest.Local("a", "10.0.0.1"), agenttest.Local("b", "10.0.0.2")
	for i, u := range []source.Update{agenttest.Update(t, a), agenttest.Update(t, b), agenttest.Gone(t, a)} {
		u.At = first.Add(time.Duration(i) * time.Second)
		q.Put(u)
	}
	select {
	case <-q.Wake():
	default:
		t.Error("nobody was woken")
	}
	got := q.Take()
	if len(got) != 2 || q.Len() != 0 {
		t.Fatalf("took %d updates, %d left", len(got), q.Len())
	}
	if got[0].Key.Name != "a" || got[0].Object != nil || !got[0].At.Equal(first) {
		t.Errorf("a: %+v", got[0])
	}
	if got[1].Key.Name != "b" || got[1].Object != b {
		t.Errorf("b: %+v", got[1])
	}
	if q.Take() != nil {
		t.Error("an empty queue has updates")
	}
}
