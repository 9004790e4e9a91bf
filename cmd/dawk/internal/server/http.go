package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"time"

	"dawk/cmd/dawk/internal/config"
	"dawk/relay"
	"dawk/relay/httpapi"
)

// maxHTTPHeader bounds request line and header fields, in octets: strangers send
// them, over many connections at once. A whole message has its recipients there.
const maxHTTPHeader = 128 << 10

// httpDoor is an address where HTTP is served.
type httpDoor struct {
	*httpapi.Door
	of     config.HTTPConfig // that it was opened for
	server *http.Server
}

// openHTTP opens the address of a setup; nil: it has none, or the one in use.
func (s *Server) openHTTP(st *setup) (*httpDoor, error) {
	of := st.cfg.HTTP
	if of.Address == "" || s.http != nil && s.http.of.Address == of.Address && s.http.of.TLS == of.TLS {
		return nil, nil
	}
	l, err := s.inherited.listen("tcp", of.Address)
	if err != nil {
		return nil, fmt.Errorf("http.address %s: %w", of.Address, err)
	}
	cfg := httpapi.DoorConfig{PerIP: st.cfg.Limits.MaxConnectionsPerIP, Observer: s.observer}
	if of.TLS == "implicit" {
		cfg.TLS = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if certs := s.now().certs; certs != nil {
				return certs.Get(hello)
			}
			return st.certs.Get(hello) // the door is closing
		}}
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := s.now().handler
		if s.running.draining() && r.Method == http.MethodPost {
			h = httpapi.Refusal(http.StatusServiceUnavailable, "the relay is about to end, try again later")
		}
		if h != nil {
			h.ServeHTTP(w, r)
		}
	})
	return &httpDoor{httpapi.NewDoor(l, cfg), of, &http.Server{Handler: handler,
		MaxHeaderBytes: maxHTTPHeader, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute, WriteTimeout: time.Minute}}, nil
}

// close ends a door; requests under way get a moment for their answers.
func (d *httpDoor) close(moment time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), moment)
	defer cancel()
	if d.server.Shutdown(ctx) != nil {
		d.server.Close()
	}
	d.Door.Close()
}

// httpHandler serves metrics for Prometheus and health for whoever restarts
// or routes, without a login, and takes mail from those who have a token.
func (s *Server) httpHandler(st *setup, door *httpapi.Door) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", httpapi.Spare(s.metrics.Handler(s.state)))
	// Alive: this process can still do its work. A restart would mend what
	// makes it false.
	mux.Handle("GET /healthz", httpapi.Spare(answer(s.alive)))
	// Ready: new mail would be accepted now. A full disk makes it false, and a
	// restart would not help.
	mux.Handle("GET /readyz", httpapi.Spare(answer(s.readiness)))
	api := s.apiHandler(st, door)
	mux.Handle("/v1/messages", api)
	mux.Handle("/v1/messages/", api)
	s.operatorPaths(mux, st, door)
	if a, ok := door.Addr().(*net.TCPAddr); ok && a.IP.IsLoopback() && st.cfg.HTTP.TLS == "off" {
		return httpapi.OnlyNames(slices.Concat(st.cfg.HTTP.Names, []string{st.cfg.Hostname, "localhost"}), s.log, mux)
	}
	return mux
}

// HTTPAddr is where HTTP is served; "": nowhere.
func (s *Server) HTTPAddr() string {
	if s.http == nil {
		return ""
	}
	return s.http.Addr().String()
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
	if s.running.draining() {
		return errDraining
	}
	select {
	case <-s.dispatcher.Ready():
	default:
		return errors.New("the queue is being loaded")
	}
	return s.queue.Room()
}
