package server

import (
	"crypto/tls"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"dawk/relay"
	"dawk/relay/admin"
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
		s.log.Info("no mail is taken over HTTP: the address is no loopback address, and there is no TLS; [http] tls = \"implicit\" changes that")
		return httpapi.Refusal(http.StatusForbidden, "mail is not taken over HTTP on this address without TLS")
	case s.users == nil:
		s.log.Info("no mail is taken over HTTP: there are no users; dawk user add NAME, dawk user token NAME, and a restart change that")
		return httpapi.Refusal(http.StatusServiceUnavailable, "mail is not taken over HTTP here")
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

// messageStatus is what became of a message.
func (s *Server) messageStatus(id relay.QueueID) (*httpapi.Status, error) {
	return admin.MessageStatus(s.queue, s.recent, id)
}
