package wait

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		if !Sleep(ctx, 59*time.Second) || time.Since(start) != 59*time.Second {
			t.Errorf("woke after %s", time.Since(start))
		}
		if Sleep(ctx, time.Hour) || time.Since(start) != time.Minute {
			t.Errorf("slept on for %s after the context ended", time.Since(start)-time.Minute)
		}
	})
}

func TestMailboxHasTheLatestValue(t *testing.T) {
	m := NewMailbox[int]()
	m.Put(1)
	m.Put(2)
	<-m.Wake()
	select {
	case <-m.Wake():
		t.Error("woken twice for what was taken together")
	default:
	}
	if got := m.Get() + m.Get(); got != 4 {
		t.Errorf("two readings add up to %d", got)
	}
	m.Put(3)
	<-m.Wake()
	if got := m.Get(); got != 3 {
		t.Errorf("got %d", got)
	}
}
