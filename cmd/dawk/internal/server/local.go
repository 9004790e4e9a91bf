package server

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"dawk/cmd/dawk/internal/config"
	"dawk/relay"
	"dawk/relay/accept"
	"dawk/relay/admin/operator"
	"dawk/relay/identity"
	"dawk/relay/sendmail"
	"dawk/relay/socket"
	"dawk/relay/submission"
)

// localDoor is how programs of this machine hand in mail: a socket on which
// they speak SMTP, and a folder for when the relay did not run.
type localDoor struct {
	socket    net.Listener        // nil: none
	mailq     *sendmail.MailqDoor // nil: none
	collector *sendmail.Collector // nil: no folder
}

// listenLocal opens the socket and makes the folder.
func (s *Server) listenLocal() (err error) {
	cfg := s.now().cfg
	at := cfg.Sendmail
	if cfg.Wanted("sendmail.socket", at.Socket) {
		if err := os.MkdirAll(filepath.Dir(at.Socket), 0o755); err != nil {
			return fmt.Errorf("sendmail.socket: %w", err)
		}
		l := s.inherited.has(at.Socket)
		if l == nil {
			if l, err = socket.Listen(at.Socket, 0o666, "sendmail's socket", "sendmail.socket"); err != nil {
				return err
			}
		}
		s.local.socket = l
		s.smtp.AddLocal(submission.Local{Listener: l, Name: "sendmail", Identify: sendmail.Peer,
			User:       func(identity string) *identity.User { return s.now().cfg.Program(identity) },
			Recipients: func(r relay.Recipient) []relay.Recipient { return s.now().aliases.Recipients(r) }})
		s.log.Info("listening", "socket", at.Socket, "for", "dawk sendmail")
		if s.local.mailq, err = sendmail.ListenMailq(at.Socket, operator.As(operator.Caller{Name: "mailq", Role: operator.Read}, s.adminHandler())); err != nil {
			return err
		}
	}
	if cfg.Wanted("sendmail.drop", at.Drop) {
		if err := os.MkdirAll(filepath.Dir(at.Drop), 0o755); err != nil {
			return fmt.Errorf("sendmail.drop: %w", err)
		}
		if err := sendmail.MakeDrop(at.Drop); err != nil {
			return fmt.Errorf("sendmail.drop: %w", err)
		}
		s.local.collector = &sendmail.Collector{Dir: at.Drop, Accept: s.acceptDropped, Log: s.log} // startSetup gives the rest
	}
	return nil
}

// collects is what a setup says of the drop folder.
func (s *Server) collects(st *setup) (most int, _ *sendmail.Aliases, tell func(context.Context, *sendmail.Lost) error) {
	at := st.cfg.Sendmail
	return sendmail.MostRecipients(st.cfg.Limits.MaxRecipients, at.RecipientsPerHour, at.RecipientsPerDay), st.aliases, s.teller(st.cfg).Tell
}

// teller tells of what the drop folder lost. Its notices are bounded as others.
func (s *Server) teller(cfg *config.Config) *sendmail.Teller {
	notices := cfg.Notices()
	notices.Bounce.SevenBit = s.canConvert
	return sendmail.NewTeller(sendmail.Teller{Letters: letters(cfg), Bounce: notices.Bounce, Domain: localDomain(cfg),
		Limit: notices.Limit, Span: notices.Span, NextID: s.queue.NextID, Submit: s.submit, Log: s.log,
		MaySend: func(who string, from relay.Path) bool { return cfg.Program(who).MaySend(from) }})
}

// localDomain is for the addresses of programs of this machine that have none.
func localDomain(cfg *config.Config) string { return strings.ToLower(cfg.SendmailDomain()) }

// acceptDropped puts a message of the drop folder into the queue.
func (s *Server) acceptDropped(ctx context.Context, m accept.Submission) (relay.QueueID, error) {
	// To give a commit up would leave the file for the next start, and send it twice.
	if s.running.draining() {
		return relay.QueueID{}, accept.Refuse(accept.ReasonInternal, 451, "4.3.2", "the relay is about to end")
	}
	cfg := s.now().cfg
	m.User = cfg.Program(m.Identity)
	m.AddFrom, m.CompleteHeader = true, localDomain(cfg)
	return s.submit(ctx, m)
}
