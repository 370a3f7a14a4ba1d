package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"
)

// Client is a client of the supervisor behind a unix socket. Its zero value is not usable. It holds no connection.
type Client struct {
	// Socket is the path of the supervisor's socket.
	Socket string
}

// Start starts a process. It fails if a process of that name runs, or if the program cannot be executed.
func (c Client) Start(ctx context.Context, spec Spec) (Status, error) {
	return c.one(ctx, request{Op: opStart, Spec: spec})
}

// Wait returns once the named process has ended.
func (c Client) Wait(ctx context.Context, name string) (Status, error) {
	return c.one(ctx, request{Op: opWait, Name: name})
}

// Run starts a process and waits for its end.
func (c Client) Run(ctx context.Context, spec Spec) (Status, error) {
	if st, err := c.Start(ctx, spec); err != nil {
		return st, err
	}
	return c.Wait(ctx, spec.Name)
}

// Signal sends a signal to the named process. It does nothing if the process has ended.
func (c Client) Signal(ctx context.Context, name string, sig syscall.Signal) error {
	_, err := c.call(ctx, request{Op: opSignal, Name: name, Signal: int(sig)})
	return err
}

// Stop asks the named process to end, kills its process group after grace, and returns its final status.
func (c Client) Stop(ctx context.Context, name string, grace time.Duration) (Status, error) {
	if err := c.Signal(ctx, name, syscall.SIGTERM); err != nil {
		return Status{}, err
	}
	polite, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	st, err := c.Wait(polite, name)
	if err == nil || ctx.Err() != nil {
		return st, err
	}
	_, err = c.call(ctx, request{Op: opSignal, Name: name, Signal: int(syscall.SIGKILL), Group: true})
	if err != nil {
		return Status{}, err
	}
	return c.Wait(ctx, name)
}

// List returns every process that was started, the earliest first.
func (c Client) List(ctx context.Context) ([]Status, error) {
	return c.call(ctx, request{Op: opList})
}

func (c Client) one(ctx context.Context, req request) (Status, error) {
	all, err := c.call(ctx, req)
	if err != nil {
		return Status{}, err
	}
	if len(all) != 1 {
		return Status{}, fmt.Errorf("supervisor %s: %d answers to one question", c.Socket, len(all))
	}
	return all[0], nil
}

func (c Client) call(ctx context.Context, req request) ([]Status, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", c.Socket)
	if err != nil {
		return nil, fmt.Errorf("supervisor: %w", err)
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := json.NewEncoder(conn).Encode(req); err != nil {
		return nil, fmt.Errorf("supervisor %s: %w", c.Socket, err)
	}
	var res response
	if err := json.NewDecoder(conn).Decode(&res); err != nil {
		return nil, fmt.Errorf("supervisor %s: %w", c.Socket, errors.Join(ctx.Err(), err))
	}
	if res.Error != "" {
		return nil, errors.New(res.Error)
	}
	return res.Statuses, nil
}
