package traffic

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Kind is what a stream consists of.
type Kind string

// The kinds of stream.
const (
	// Connects are TCP connections, each opened, used for one request and closed.
	Connects Kind = "tcp connects"
	// Flows are UDP datagrams, each from a port of its own, so that each is the first of its flow.
	Flows Kind = "udp flows"
	// Connection is one TCP connection with one request after the other. It can only be permitted.
	Connection Kind = "tcp connection"
)

const (
	// port is where the servers listen, in every pod that a stream leads to.
	port = 7400
	// patience is how long a permitted answer may take. It is long because a busy machine is slow. Losses show all
	// the same: TCP counts its retransmissions, and nobody repeats a datagram.
	patience = 5 * time.Second
	// knock is how long to wait for a forbidden connection. A permitted one would be accepted far sooner.
	knock = 30 * time.Millisecond
	// late is how long after the end a packet may still arrive.
	late = 300 * time.Millisecond
)

// End is a pod with its network namespace.
type End struct {
	Name string
	// NetNS is the path of the network namespace.
	NetNS string
	Addr  netip.Addr
}

// Stream is one direction of traffic.
type Stream struct {
	From, To End
	Kind     Kind
	// Permitted says whether all of it or none of it should arrive.
	Permitted bool
}

func (s Stream) String() string {
	word := "forbidden"
	if s.Permitted {
		word = "permitted"
	}
	return fmt.Sprintf("%s -> %s, %s, %s", s.From.Name, s.To.Name, s.Kind, word)
}

// Result is the result of a stream.
type Result struct {
	Stream
	// Sent is the number of requests, Arrived the number that the other end saw, Answered the number that
	// completed.
	Sent, Arrived, Answered int
	// Repeated counts TCP segments that were sent again.
	Repeated int
	// First is the first thing that went wrong.
	First string
}

// Wrong describes how the result differs from what it should be. It is empty if it does not.
func (r Result) Wrong() string {
	switch {
	case r.Sent == 0:
		return r.String() + ": nothing was sent: " + r.First
	case r.Permitted && (r.Answered < r.Sent || r.Repeated > 0):
		return fmt.Sprintf("%s: of %d sent %d arrived, %d were answered, %d segments repeated: %s",
			r, r.Sent, r.Arrived, r.Answered, r.Repeated, r.First)
	case !r.Permitted && r.Arrived+r.Answered > 0:
		return fmt.Sprintf("%s: of %d sent %d arrived, %d were answered: %s", r, r.Sent, r.Arrived, r.Answered, r.First)
	}
	return ""
}

// Traffic is a set of running streams.
type Traffic struct {
	every   time.Duration
	servers map[netip.Addr]*server
	streams []*stream
	stop    context.CancelFunc
	running sync.WaitGroup
}

// Start opens the servers and starts all streams. Each sends once every interval.
func Start(ctx context.Context, streams []Stream, every time.Duration) (*Traffic, error) {
	t := &Traffic{every: every, servers: map[netip.Addr]*server{}}
	for _, s := range streams {
		if t.servers[s.To.Addr] != nil {
			continue
		}
		srv, err := listen(ctx, s.To)
		if err != nil {
			t.closeServers()
			return nil, fmt.Errorf("servers in %s: %w", s.To.Name, err)
		}
		t.servers[s.To.Addr] = srv
	}
	ctx, t.stop = context.WithCancel(ctx)
	for i, s := range streams {
		st := &stream{Stream: s, id: uint32(i + 1), result: Result{Stream: s}}
		t.streams = append(t.streams, st)
		t.running.Go(func() { st.run(ctx, every) })
	}
	return t, nil
}

// Stop stops all streams and returns their results, in the same order.
func (t *Traffic) Stop() []Result {
	t.stop()
	t.running.Wait()
	time.Sleep(late)
	var results []Result
	for _, st := range t.streams {
		st.result.Arrived = t.servers[st.To.Addr].arrived(st.id, st.From.Addr, st.Kind)
		results = append(results, st.result)
	}
	t.closeServers()
	return results
}

func (t *Traffic) closeServers() {
	for _, s := range t.servers {
		s.close()
	}
}

// stream is a running stream. Its thread stays in the sender's network namespace.
type stream struct {
	Stream
	id     uint32
	seq    atomic.Uint32
	result Result
}

func (s *stream) run(ctx context.Context, every time.Duration) {
	err := within(s.From.NetNS, func() error {
		send := map[Kind]func(context.Context) error{Connects: s.connect, Flows: s.datagram}[s.Kind]
		if s.Kind == Connection {
			conn, err := s.dial(ctx, patience)
			if err != nil {
				return err
			}
			defer func() { _ = conn.Close() }()
			send = func(context.Context) error { return s.ask(conn) }
			defer func() { s.result.Repeated = repeated(conn) }()
		}
		tick := time.NewTicker(every)
		defer tick.Stop()
		for ctx.Err() == nil {
			s.result.Sent++
			// A request that has begun may complete, so that the end of the test is not taken for a loss.
			if err := send(context.WithoutCancel(ctx)); err == nil {
				s.result.Answered++
			} else if s.result.First == "" && s.Permitted {
				s.result.First = time.Now().Format("15:04:05.000") + " " + err.Error()
			}
			select {
			case <-ctx.Done():
			case <-tick.C:
			}
		}
		return nil
	})
	if err != nil {
		s.result.First = err.Error()
	}
}

// within runs f on a thread in a network namespace. The thread ends with f.
func within(path string, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// The first thread would outlive its goroutine. While it is locked here, the next goroutine gets
			// another one.
			defer runtime.UnlockOSThread()
			done <- within(path, f)
			return
		}
		done <- func() error {
			ns, err := os.Open(path)
			if err != nil {
				return err
			}
			err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
			if err = errors.Join(err, ns.Close()); err != nil {
				return fmt.Errorf("enter %s: %w", path, err)
			}
			return f()
		}()
	}()
	return <-done
}
