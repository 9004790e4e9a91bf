package main

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"dawk/relay"
)

// maxHTTPHeader bounds request line and header fields, in octets: strangers send
// them, over maxHTTPConnections at once. A whole message has its recipients
// there.
const maxHTTPHeader = 128 << 10

// newHTTPServer serves metrics for Prometheus and health for whoever restarts
// or routes, without a login, and takes mail from those who have a token.
func (r *instance) newHTTPServer() *http.Server {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", r.metrics.Handler())
	// Alive: this process can still do its work. A restart would mend what
	// makes it false.
	mux.HandleFunc("GET /healthz", answer(r.alive))
	// Ready: new mail would be accepted now. A full disk makes it false, and a
	// restart would not help.
	mux.HandleFunc("GET /readyz", answer(r.readiness))
	mux.Handle("/v1/", r.apiHandler())
	return &http.Server{Handler: mux, MaxHeaderBytes: maxHTTPHeader, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute, WriteTimeout: time.Minute}
}

func (r *instance) httpAddr() string {
	if r.httpL == nil {
		return ""
	}
	return r.httpL.Addr().String()
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

func (r *instance) alive() error {
	if err := r.queue.Room(); errors.Is(err, relay.ErrClosed) {
		return fmt.Errorf("the queue does not trust its disk any more, and dawk is ending: %w", err)
	}
	return nil
}

func (r *instance) readiness() error {
	if err := r.alive(); err != nil {
		return err
	}
	select {
	case <-r.dispatcher.Ready():
	default:
		return errors.New("the queue is being loaded")
	}
	return r.queue.Room()
}
