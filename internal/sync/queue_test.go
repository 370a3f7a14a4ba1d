package sync

import (
	"testing"
	"time"
)

func TestQueueKeepsTheLatestStateAndTheFirstTime(t *testing.T) {
	q := NewQueue()
	first := time.Now()
	a, b := pod("a", testNode, "10.0.0.1", nil), pod("b", testNode, "10.0.0.2", nil)
	for i, ev := range []Event{eventOf(a), eventOf(b), eventOf(a)} {
		ev.At = first.Add(time.Duration(i) * time.Second)
		if i == 2 {
			ev.Object = nil
		}
		q.Put(ev)
	}
	select {
	case <-q.Wake():
	default:
		t.Error("nobody was woken")
	}
	got := q.Take()
	if len(got) != 2 || q.Len() != 0 {
		t.Fatalf("took %d events, %d left", len(got), q.Len())
	}
	if got[0].Key.Name != "a" || got[0].Object != nil || !got[0].At.Equal(first) {
		t.Errorf("a: %+v", got[0])
	}
	if got[1].Key.Name != "b" || got[1].Object != b {
		t.Errorf("b: %+v", got[1])
	}
	if q.Take() != nil {
		t.Error("an empty queue gives events")
	}
}
