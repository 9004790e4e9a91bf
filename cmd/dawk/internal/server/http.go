package server

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"time"

	"dawk/relay"
	"dawk/relay/httpapi"
)

// maxHTTPHeader bounds request line and header fields, in octets: strangers send
// them, over many connections at once. A whole message has its recipients there.
const maxHTTPHeader = 128 << 10

// newHTTPServer serves metrics for Prometheus and health for whoever restarts
// or routes, without a login, and takes mail from those who have a token.
func (s *Server) newHTTPServer() *http.Server {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", httpapi.Spare(s.metrics.Handler(s.state)))
	// Alive: this process can still do its work. A restart would mend what
	// makes it false.
	mux.Handle("GET /healthz", httpapi.Spare(answer(s.alive)))
	// Ready: new mail would be accepted now. A full disk makes it false, and a
	// restart would not help.
	mux.Handle("GET /readyz", httpapi.Spare(answer(s.readiness)))
	mux.Handle("/v1/", s.apiHandler())
	var handler http.Handler = mux
	if a, ok := s.httpDoor.Addr().(*net.TCPAddr); ok && a.IP.IsLoopback() && s.cfg.HTTP.TLS == "off" {
		handler = httpapi.OnlyNames(slices.Concat(s.cfg.HTTP.Names, []string{s.cfg.Hostname, "localhost"}), s.log, mux)
	}
	return &http.Server{Handler: handler, MaxHeaderBytes: maxHTTPHeader, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute, WriteTimeout: time.Minute}
}

// HTTPAddr is where HTTP is served; "": nowhere.
func (s *Server) HTTPAddr() string {
	if s.httpDoor == nil {
		return ""
	}
	return s.httpDoor.Addr().String()
}

func answer(problem func() error) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		if err := problem(); err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprintln(w, err)
			return
		}
		fmt.Fprintln(w, "ok")
	}
}

func (s *Server) alive() error {
	if err := s.queue.Room(); errors.Is(err, relay.ErrClosed) {
		return fmt.Errorf("the queue does not trust its disk any more, and dawk is ending: %w", err)
	}
	return nil
}

func (s *Server) readiness() error {
	if err := s.alive(); err != nil {
		return err
	}
	select {
	case <-s.dispatcher.Ready():
	default:
		return errors.New("the queue is being loaded")
	}
	return s.queue.Room()
}
