package server

import (
	"context"
	"crypto/tls"
	"errors"
	"time"

	"dawk/relay"
	"dawk/relay/accept"
	"dawk/relay/returnpath"
	"dawk/relay/submission"
)

// returned is the door for what comes back to signed return addresses.
type returned struct {
	*returnpath.Desk
	smtp *submission.Server
}

// openReturns makes it, where the configuration has one.
func (s *Server) openReturns(st *setup) error {
	rules := st.cfg.ReturnPathRules()
	if rules == nil {
		return nil
	}
	desk, err := returnpath.Open(st.cfg.DataDir, *rules, returnpath.Around{Queue: s.queue, Outbox: s.queue.Outbox(), Seen: s.observer, Kept: s.observed, Log: s.log})
	if err != nil {
		return err
	}
	s.returns = &returned{Desk: desk}
	s.closeLater(desk.Close)
	return nil
}

// observed waits until what observers saw is in the history and on the suppression list.
func (s *Server) observed() error {
	if s.records != nil {
		s.records.Flush()
	}
	return s.suppressed.Settled()
}

// tellWait is how long a client waits for an event about it to be on disk.
const tellWait = 2 * time.Second

// tell puts an event into the outbox that no message goes with.
func (s *Server) tell(e relay.Event) {
	done := make(chan error, 1)
	s.queue.Settle(relay.Settlement{Events: []relay.Event{e}}, func(err error) { done <- err })
	select {
	case err := <-done:
		if err != nil {
			s.log.Error("an event for webhooks is lost", "event", e.Kind, "error", err)
		}
	case <-time.After(tellWait): // the disk is slow, or full
	}
}

// openReturnDoor makes the SMTP server of s.returns. What it takes is no mail of this
// relay: nobody is told that it was accepted.
func (s *Server) openReturnDoor(st *setup) (err error) {
	if s.returns == nil {
		return nil
	}
	cfg := st.cfg.AcceptorConfig(s.log)
	cfg.Recipient = func(_ string, to relay.Path) *accept.Refusal {
		if why := s.returns.Refuses(to); why != "" {
			return accept.Refuse(accept.ReasonRelay, 550, "5.1.1", "%s", why)
		}
		return nil
	}
	seen := quiet{s.observer}
	acceptor, err := accept.New(cfg, s.returns, seen)
	if err != nil {
		return err
	}
	door := submission.Inbound(st.cfg.ReturnPath.Listener)
	if st.certs != nil {
		door.TLS = "starttls"
	}
	smtp := st.cfg.SubmissionConfig(s.log)
	smtp.Listeners, smtp.RequireTLS, smtp.MaxHold = []submission.Listener{door}, false, 0
	smtp.Listen, smtp.Backoff = s.inherited.listen, s.backoff
	if st.certs != nil {
		smtp.GetCertificate = func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if certs := s.now().certs; certs != nil {
				return certs.Get(h)
			}
			return nil, errors.New("there is no certificate any more")
		}
	}
	s.returns.smtp, err = submission.NewServer(smtp, acceptor, nil, seen)
	return err
}

// quiet passes on everything but that a message was accepted.
type quiet struct{ relay.Observer }

func (q quiet) Observe(e relay.Event) {
	if e.Kind != relay.EventAccepted {
		q.Observer.Observe(e)
	}
}

// returnPath is the signed address for a recipient, where the identity has them.
func (s *Server) returnPath(m *relay.Message, recipient int) relay.Path {
	users := s.now().users
	if m.Notice || users == nil || !users.SignedReturn(m.Identity) {
		return relay.Path{}
	}
	p, err := s.returns.For(m, recipient)
	if err != nil {
		s.log.Error("a return address could not be noted; the message leaves with the sender's", "qid", m.ID, "err", err)
	}
	return p
}

// listen opens the listener.
func (r *returned) listen() error {
	if r == nil {
		return nil
	}
	return r.smtp.Listen()
}

// ReturnAddr is the address of the listener for return addresses; "": there is none.
func (s *Server) ReturnAddr() string {
	if s.returns == nil || len(s.returns.smtp.Addrs()) == 0 {
		return ""
	}
	return s.returns.smtp.Addrs()[0].String()
}

// serve takes what comes back until ctx ends.
func (r *returned) serve(ctx context.Context, s *Server) {
	served := make(chan error, 1)
	go func() { served <- r.smtp.Serve() }()
	select {
	case <-ctx.Done():
		drain, cancel := context.WithTimeout(context.Background(), drainClients)
		defer cancel()
		_ = r.smtp.Shutdown(drain) // whoever is cut off was not answered, and comes again
		<-served
	case err := <-served:
		s.log.Error("the listener for return addresses has stopped", "err", err)
	}
}

// close closes a listener that is not served.
func (r *returned) close() {
	if r == nil || r.smtp == nil {
		return
	}
	over, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = r.smtp.Shutdown(over)
}
