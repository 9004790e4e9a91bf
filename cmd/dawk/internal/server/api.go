package server

import (
	"net/http"
	"path/filepath"
	"time"

	"dawk/relay"
	"dawk/relay/admin/past"
	"dawk/relay/httpapi"
)

// apiHandler is what answers below /v1/.
func (s *Server) apiHandler(st *setup, door *httpapi.Door) http.Handler {
	switch {
	case !st.cfg.APIOffered():
		s.log.Info("no mail is taken over HTTP: the address is no loopback address, and there is no TLS; [http] tls = \"implicit\" changes that")
		return httpapi.Refusal(http.StatusForbidden, "mail is not taken over HTTP on this address without TLS")
	case st.users == nil:
		s.log.Info("no mail is taken over HTTP: there are no users; dawk user add NAME, dawk user token NAME and dawk reload change that")
		return httpapi.Refusal(http.StatusServiceUnavailable, "mail is not taken over HTTP here")
	}
	switch {
	case s.keys != nil:
	case s.purses != nil:
		s.keys = httpapi.NewKeys()
		s.keys.Together(s.purses.Counts())
	default:
		keys, err := httpapi.OpenKeys(filepath.Join(st.cfg.DataDir, "idempotency.keys"), time.Now())
		if err != nil {
			s.log.Error("idempotency keys are remembered in memory only", "err", err)
			keys = httpapi.NewKeys()
		}
		s.keys = keys
	}
	return httpapi.NewHandler(httpapi.Config{
		Users: st.users, Acceptor: st.acceptor, Status: s.messageStatus, Keys: s.keys,
		MaxMessageSize: int64(st.cfg.Limits.MaxMessageSize), MaxRecipients: st.cfg.Limits.MaxRecipients,
		Door: door, Dir: st.cfg.DataDir,
		Backoff:  s.backoff,
		Observer: s.observer, Listener: door.Addr().String(), Log: s.log,
	})
}

// messageStatus is what became of a message.
func (s *Server) messageStatus(id relay.QueueID) (*httpapi.Status, error) {
	return past.MessageStatus(s.queue, s.recent, id, func() bool { return len(s.dispatcher.Where(id)) > 0 })
}
