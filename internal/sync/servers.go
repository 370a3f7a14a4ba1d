package sync

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sys/unix"
)

// listen opens a TCP port; addr "" or "0" means none. The error says which flag gives another.
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

// healthHandler answers /healthz and /readyz with 200, or with 503 and one reason a line.
func healthHandler(h *Health) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if err := h.Alive(); err != nil {
			answer(w, []string{err.Error()})
			return
		}
		answer(w, nil)
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { answer(w, h.NotReady()) })
	return mux
}

func answer(w http.ResponseWriter, reasons []string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	body := "ok"
	if len(reasons) > 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
		body = strings.Join(reasons, "\n")
	}
	_, _ = io.WriteString(w, body+"\n")
}

// metricsHandler answers /metrics.
func metricsHandler(r *prometheus.Registry) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(r, promhttp.HandlerOpts{Registry: r}))
	return mux
}

// serve answers on l until ctx ends.
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
