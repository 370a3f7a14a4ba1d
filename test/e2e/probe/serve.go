package probe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

// Config says what a probe listens on. Listeners are on all addresses, IPv4 and IPv6.
type Config struct {
	// Name is the name it answers with.
	Name string
	// TCP and UDP are the ports it answers on.
	TCP, UDP []int
	// Control is the port on which it takes questions.
	Control int
}

// Server is a probe that listens.
type Server struct {
	cfg     Config
	tcp     []net.Listener
	udp     []net.PacketConn
	control net.Listener
}

// Listen opens all ports or none.
func Listen(ctx context.Context, cfg Config) (*Server, error) {
	s := &Server{cfg: cfg}
	if err := s.listen(ctx); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *Server) listen(ctx context.Context) error {
	var lc net.ListenConfig
	for _, port := range s.cfg.TCP {
		l, err := lc.Listen(ctx, TCP, ":"+strconv.Itoa(port))
		if err != nil {
			return fmt.Errorf("TCP port %d: %w", port, err)
		}
		s.tcp = append(s.tcp, l)
	}
	for _, port := range s.cfg.UDP {
		c, err := lc.ListenPacket(ctx, UDP, ":"+strconv.Itoa(port))
		if err != nil {
			return fmt.Errorf("UDP port %d: %w", port, err)
		}
		s.udp = append(s.udp, c)
	}
	var err error
	if s.control, err = lc.Listen(ctx, TCP, ":"+strconv.Itoa(s.cfg.Control)); err != nil {
		return fmt.Errorf("control port %d: %w", s.cfg.Control, err)
	}
	return nil
}

func (s *Server) close() {
	for _, l := range s.tcp {
		_ = l.Close()
	}
	for _, c := range s.udp {
		_ = c.Close()
	}
	if s.control != nil {
		_ = s.control.Close()
	}
}

// Serve answers until the context ends, then closes all ports.
func (s *Server) Serve(ctx context.Context) error {
	stop := context.AfterFunc(ctx, s.close)
	defer stop()
	for _, l := range s.tcp {
		go s.answerTCP(l)
	}
	for _, c := range s.udp {
		go s.answerUDP(c)
	}
	srv := &http.Server{Handler: handler(), ReadHeaderTimeout: 5 * time.Second}
	err := srv.Serve(s.control)
	if ctx.Err() != nil || errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

func (s *Server) answerTCP(l net.Listener) {
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			// For example, the process is out of descriptors. That passes.
			time.Sleep(10 * time.Millisecond)
			continue
		}
		go func() {
			defer func() { _ = conn.Close() }()
			_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
			_, _ = io.WriteString(conn, s.cfg.Name+"\n")
		}()
	}
}

func (s *Server) answerUDP(c net.PacketConn) {
	buf := make([]byte, maxName)
	for {
		_, from, err := c.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			_, _ = c.WriteTo([]byte(s.cfg.Name), from)
		}
	}
}

func handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	mux.HandleFunc("POST "+Path, func(w http.ResponseWriter, r *http.Request) {
		var q Question
		if err := json.NewDecoder(io.LimitReader(r.Body, 1<<20)).Decode(&q); err != nil {
			http.Error(w, "read question: "+err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(Answer{Results: TryAll(r.Context(), q.Targets)})
	})
	return mux
}
