package probe

import (
	"context"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// serve starts a probe on free ports of the loopback and returns its TCP and UDP port.
func serve(t *testing.T, name string) (tcp, udp int) {
	t.Helper()
	s, err := Listen(t.Context(), Config{Name: name, TCP: []int{0}, UDP: []int{0}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return s.tcp[0].Addr().(*net.TCPAddr).Port, s.udp[0].LocalAddr().(*net.UDPAddr).Port
}

// closed returns a TCP port that nobody listens on.
func closed(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

func TestTryAllKeepsTheOrder(t *testing.T) {
	tcp, udp := serve(t, "web")
	got := TryAll(t.Context(), []Target{
		{Host: "127.0.0.1", Port: tcp, Protocol: TCP},
		{Host: "127.0.0.1", Port: closed(t), Protocol: TCP},
		{Host: "127.0.0.1", Port: udp, Protocol: UDP},
		{Host: "127.0.0.1", Port: tcp, Protocol: "icmp"},
	})
	for i, want := range []struct {
		open bool
		err  string
	}{{true, ""}, {false, "refused"}, {true, ""}, {false, "icmp"}} {
		r := got[i]
		if r.Open != want.open || !strings.Contains(r.Error, want.err) || (r.AnsweredBy == "web") != want.open {
			t.Errorf("target %d: %+v, want open %t, error with %q", i, r, want.open, want.err)
		}
	}
}

func TestUDPWithoutAnswerIsClosedAfterTheTimeout(t *testing.T) {
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	port := silent.LocalAddr().(*net.UDPAddr).Port
	start := time.Now()
	r := Try(t.Context(), Target{Host: "127.0.0.1", Port: port, Protocol: UDP, TimeoutMs: 90})
	if r.Open || r.Error == "" {
		t.Errorf("result %+v, want closed", r)
	}
	if took := time.Since(start); took < 80*time.Millisecond || took > 5*time.Second {
		t.Errorf("took %s, want about 90 ms", took)
	}
}

func TestTCPThatSaysNothingIsClosed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	port := l.Addr().(*net.TCPAddr).Port
	r := Try(t.Context(), Target{Host: "127.0.0.1", Port: port, Protocol: TCP, TimeoutMs: 50})
	if r.Open || r.Error == "" {
		t.Errorf("result %+v, want closed", r)
	}
}

func TestClientAsks(t *testing.T) {
	tcp, _ := serve(t, "web")
	srv := httptest.NewServer(handler())
	defer srv.Close()
	client := NewClient(func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, srv.Listener.Addr().String())
	})
	got, err := client.Ask(t.Context(), "10.0.0.1", []Target{{Host: "127.0.0.1", Port: tcp, Protocol: TCP}})
	if err != nil || len(got) != 1 || got[0].AnsweredBy != "web" {
		t.Errorf("results %+v, %v", got, err)
	}
}

func TestListenOpensAllOrNone(t *testing.T) {
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	taken := l.Addr().(*net.TCPAddr).Port
	if _, err := Listen(t.Context(), Config{Name: "x", TCP: []int{0, taken}}); err == nil {
		t.Fatal("no error for a port that is in use")
	}
}
