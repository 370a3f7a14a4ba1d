package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"
)

// maxName limits how much of an answer is read.
const maxName = 512

// udpTries is how often a datagram is sent within the timeout: one may be lost although nothing forbids it.
const udpTries = 3

// Try probes one target.
func Try(ctx context.Context, t Target) Result {
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, t.timeout())
	defer cancel()
	var name string
	var err error
	switch t.Protocol {
	case TCP:
		name, err = tryTCP(ctx, t)
	case UDP:
		name, err = tryUDP(ctx, t)
	default:
		err = fmt.Errorf("protocol %q: want %s or %s", t.Protocol, TCP, UDP)
	}
	res := Result{Open: err == nil, AnsweredBy: name, Micros: time.Since(start).Microseconds()}
	if err != nil {
		res.Error = err.Error()
	}
	return res
}

// TryAll probes all targets at once and returns their results in the same order.
func TryAll(ctx context.Context, targets []Target) []Result {
	results := make([]Result, len(targets))
	var wg sync.WaitGroup
	for i, t := range targets {
		wg.Go(func() { results[i] = Try(ctx, t) })
	}
	wg.Wait()
	return results
}

func tryTCP(ctx context.Context, t Target) (string, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, TCP, t.Address())
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return "", err
		}
	}
	data, err := io.ReadAll(io.LimitReader(conn, maxName))
	if err != nil {
		return "", err
	}
	return answered(data)
}

func tryUDP(ctx context.Context, t Target) (string, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, UDP, t.Address())
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	buf := make([]byte, maxName)
	wait := t.timeout() / udpTries
	for range udpTries {
		if _, err = conn.Write([]byte("?")); err != nil {
			return "", err
		}
		if err := conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
			return "", err
		}
		var n int
		n, err = conn.Read(buf)
		if err == nil {
			return answered(buf[:n])
		}
		var timeout net.Error
		if !errors.As(err, &timeout) || !timeout.Timeout() {
			return "", err
		}
	}
	return "", err
}

func answered(data []byte) (string, error) {
	name := strings.TrimSpace(string(data))
	if name == "" {
		return "", errors.New("the answer is empty")
	}
	return name, nil
}
