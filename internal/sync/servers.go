package sync

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/sys/unix"
)

// listen opens a TCP port, or none if addr is "" or "0". The error names the flag that chooses another port.
func listen(ctx context.Context, what, addr, flag string) (net.Listener, error) {
	if addr == "" || addr == "0" {
		return nil, nil
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if errors.Is(err, unix.EADDRINUSE) {
		return nil, fmt.Errorf("%s address %s is in use: free it, or choose another one with %s", what, addr, flag)
	}
	if err != nil {
		return nil, fmt.Errorf("%s address %s: %w; choose another one with %s", what, addr, err, flag)
	}
	return l, nil
}

// serve answers requests on l until ctx ends.
func serve(ctx context.Context, l net.Listener, h http.Handler, log *slog.Logger) error {
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("server on %s: %w", l.Addr(), err)
	}
	return nil
}
