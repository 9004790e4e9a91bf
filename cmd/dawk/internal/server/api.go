package server

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"dawk/bounce"
	"dawk/relay"
	"dawk/relay/httpapi"
)

// newDoor bounds the connections of HTTP, with TLS where it is set.
func (s *Server) newDoor(l net.Listener) *httpapi.Door {
	cfg := httpapi.DoorConfig{PerIP: s.cfg.Limits.MaxConnectionsPerIP, Observer: s.observer}
	if s.cfg.HTTP.TLS == "implicit" {
		cfg.TLS = &tls.Config{GetCertificate: s.certs.Get, MinVersion: tls.VersionTLS12}
	}
	return httpapi.NewDoor(l, cfg)
}

// apiHandler is what answers below /v1/.
func (s *Server) apiHandler() http.Handler {
	switch {
	case !s.cfg.APIOffered():
		return sayJSON(http.StatusForbidden, "mail is not taken over HTTP on this address without TLS: set [http] tls")
	case s.users == nil:
		return sayJSON(http.StatusServiceUnavailable, "mail is not taken over HTTP: there are no users; dawk user add NAME, dawk user token NAME, and a restart change that")
	}
	keys, err := httpapi.OpenKeys(filepath.Join(s.cfg.DataDir, "idempotency.keys"), time.Now())
	if err != nil {
		s.log.Error("idempotency keys are remembered in memory only", "err", err)
		keys = httpapi.NewKeys()
	}
	s.closeLater(func() error { keys.Close(); return nil })
	return httpapi.NewHandler(httpapi.Config{
		Users: s.users, Acceptor: s.acceptor, Status: s.messageStatus, Keys: keys,
		MaxMessageSize: int64(s.cfg.Limits.MaxMessageSize), MaxRecipients: s.cfg.Limits.MaxRecipients,
		Door: s.httpDoor, Dir: s.cfg.DataDir,
		Backoff:  s.backoff,
		Observer: s.observer, Listener: s.HTTPAddr(), Log: s.log,
	})
}

func sayJSON(code int, sentence string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		fmt.Fprintf(w, "{\"error\":%q}\n", sentence)
	})
}

// messageStatus is what became of a message, from the queue and the history.
func (s *Server) messageStatus(id relay.QueueID) (*httpapi.Status, error) {
	past, ended := s.recent.Get(id)
	item, err := s.queue.Item(id)
	switch {
	case errors.Is(err, relay.ErrNotFound) && !ended:
		return nil, relay.ErrNotFound
	case err != nil && !errors.Is(err, relay.ErrNotFound):
		return nil, err
	}
	st := &httpapi.Status{ID: id, Identity: past.Identity, Arrival: past.Arrival, More: past.MoreEnded}
	for _, e := range past.Ended {
		st.Recipients = append(st.Recipients, httpapi.RecipientStatus{Recipient: e.Recipient, State: string(e.Action), Attempts: e.Attempt, Reply: replyText(e.Reply), At: e.At})
	}
	if err != nil {
		return st, nil
	}
	st.Identity, st.Arrival = item.Message.Identity, item.Message.Arrival
	for _, d := range item.Deliveries {
		state := "queued"
		if d.Held {
			state = "held"
		}
		for _, o := range d.Open {
			st.Recipients = append(st.Recipients, httpapi.RecipientStatus{Recipient: item.Message.Recipients[o.Recipient].Path, State: state,
				Attempts: int(d.Attempts), Reply: replyText(o.Last), Next: d.Due})
		}
	}
	return st, nil
}

// replyText is what a notice would tell the sender, and no more.
func replyText(r relay.Reply) string {
	if r.IsZero() {
		return ""
	}
	return bounce.ForSender(r).String()
}
