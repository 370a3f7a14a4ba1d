package conntrack

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var errTable = errors.New("the kernel says no")

// fakeTable holds one flow for each address.
type fakeTable struct {
	mu      sync.Mutex
	dumps   [][]netip.Addr
	times   []time.Time
	running int
	takes   time.Duration
	fail    int // that many dumps fail
	stuck   netip.Addr
	flows   map[netip.Addr]Flow
	deleted []netip.Addr
	held    int
	until   time.Time
	stays   int // that many releases fail
}

func (f *fakeTable) Dump(_ context.Context, addrs map[netip.Addr]struct{}, yield func(Flow)) error {
	f.mu.Lock()
	f.running++
	if f.running > 1 {
		panic("two dumps at once")
	}
	f.dumps = append(f.dumps, slices.SortedFunc(maps.Keys(addrs), netip.Addr.Compare))
	f.times = append(f.times, time.Now())
	takes, fail := f.takes, f.fail > 0
	f.fail--
	f.mu.Unlock()
	time.Sleep(takes)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.running--
	for a := range addrs {
		if fl, ok := f.flows[a]; ok {
			yield(fl)
		}
	}
	if fail {
		return errTable
	}
	return nil
}

func (f *fakeTable) Delete(fl *Flow) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fl.Orig.Src == f.stuck {
		return false, errTable
	}
	delete(f.flows, fl.Orig.Src)
	f.deleted = append(f.deleted, fl.Orig.Src)
	return true, nil
}

func (f *fakeTable) Hold(flows []Flow) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, fl := range flows {
		if slices.Contains(f.deleted, fl.Orig.Src) {
			panic("held too late")
		}
		f.held++
	}
	if f.held > 0 {
		f.until = time.Now().Add(holdFor)
	}
	return nil
}

func (f *fakeTable) heldNow() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.held
}

func (f *fakeTable) Release() (time.Duration, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.held == 0 {
		return 0, nil
	}
	if left := time.Until(f.until); left > 0 {
		return left, nil
	}
	if f.stays > 0 {
		f.stays--
		return 0, errTable
	}
	f.held = 0
	return 0, nil
}

func (f *fakeTable) add(addrs ...netip.Addr) {
	if f.flows == nil {
		f.flows = map[netip.Addr]Flow{}
	}
	for _, a := range addrs {
		f.flows[a] = Flow{Orig: Tuple{Src: a}}
	}
}

func ip(n byte) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, n}) }

// start runs a cutter that forbids everything, until the test ends.
func start(t *testing.T, table *fakeTable, observe Observer) *Cutter {
	t.Helper()
	c := NewCutter(table, func(_ context.Context, flows []Flow) ([]Flow, error) { return flows, nil }, observe, quiet())
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return c
}

func TestPassesNeverOverlapAndCoalesce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := &fakeTable{takes: 100 * time.Millisecond}
		c := start(t, table, Observer{})
		begin := time.Now()
		c.Look(slices.Values([]netip.Addr{ip(1)}))
		synctest.Wait()
		for n := byte(2); n < 20; n++ {
			c.Look(slices.Values([]netip.Addr{ip(n), ip(2)}))
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if len(table.dumps) != 2 || len(table.dumps[0]) != 1 || len(table.dumps[1]) != 18 {
			t.Fatalf("dumps %v", table.dumps)
		}
		if !table.times[0].Equal(begin) {
			t.Errorf("the first pass waited %s", table.times[0].Sub(begin))
		}
		if gap := table.times[1].Sub(begin); gap != 500*time.Millisecond {
			t.Errorf("the second pass began after %s, want the first one's 100 ms and a pause four times as long", gap)
		}
	})
}

func TestNothingToLookAtIsNoPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := &fakeTable{}
		c := start(t, table, Observer{})
		c.Look(slices.Values([]netip.Addr(nil)))
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(table.dumps) != 0 {
			t.Errorf("dumps %v", table.dumps)
		}
	})
}

func TestFailedPassIsRepeatedWithWhatCameMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := &fakeTable{fail: 3}
		table.add(ip(1), ip(2))
		var failures int
		c := start(t, table, Observer{Passed: func(_, _ int, _ time.Duration, err error) {
			if err != nil {
				failures++
			}
		}})
		c.Look(slices.Values([]netip.Addr{ip(1)}))
		synctest.Wait()
		c.Look(slices.Values([]netip.Addr{ip(2)}))
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if len(table.dumps) != 4 || failures != 3 {
			t.Fatalf("%d dumps, %d failures", len(table.dumps), failures)
		}
		for i := range 3 {
			want := retryFirst << i
			if gap := table.times[i+1].Sub(table.times[i]); gap != want {
				t.Errorf("try %d came after %s, want %s", i+1, gap, want)
			}
		}
		if len(table.dumps[3]) != 2 || len(table.flows) != 0 {
			t.Errorf("last dump %v, left %v", table.dumps[3], table.flows)
		}
	})
}

func TestAnEntryThatStaysProtectsNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := &fakeTable{stuck: ip(1)}
		table.add(ip(1), ip(2), ip(3))
		c := start(t, table, Observer{})
		c.Look(slices.Values([]netip.Addr{ip(1), ip(2), ip(3)}))
		synctest.Wait()
		if len(table.deleted) != 2 {
			t.Errorf("deleted %v", table.deleted)
		}
		table.mu.Lock()
		table.stuck = netip.Addr{}
		table.mu.Unlock()
		time.Sleep(time.Second)
		synctest.Wait()
		if len(table.flows) != 0 {
			t.Errorf("left %v", table.flows)
		}
	})
}

func TestManyFlowsAreJudgedInBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := &fakeTable{}
		var addrs []netip.Addr
		for i := range 3*batch + 1 {
			a := netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})
			addrs = append(addrs, a)
			table.add(a)
		}
		var sizes []int
		done := make(chan struct{})
		c := NewCutter(table, func(_ context.Context, flows []Flow) ([]Flow, error) {
			sizes = append(sizes, len(flows))
			return flows[:1], nil
		}, Observer{Passed: func(looked, cut int, _ time.Duration, err error) {
			if looked != 3*batch+1 || cut != 4 || err != nil {
				t.Errorf("looked at %d, cut %d, %v", looked, cut, err)
			}
			close(done)
		}}, quiet())
		ctx, cancel := context.WithCancel(t.Context())
		go c.Run(ctx)
		c.Look(slices.Values(addrs))
		<-done
		cancel()
		if !slices.Equal(sizes, []int{batch, batch, batch, 1}) {
			t.Errorf("batches %v", sizes)
		}
	})
}

func TestHeldRepliesAreReleased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := &fakeTable{stays: 2}
		table.add(ip(1), ip(2))
		c := start(t, table, Observer{})
		c.Look(slices.Values([]netip.Addr{ip(1)}))
		time.Sleep(20 * time.Second)
		c.Look(slices.Values([]netip.Addr{ip(2)}))
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if n := table.heldNow(); n != 2 {
			t.Fatalf("%d held 20 s after the last cut", n)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if n := table.heldNow(); n != 0 {
			t.Errorf("%d still held", n)
		}
	})
}
