package server

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"dawk/relay"
	"dawk/relay/accept"
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
	at := s.cfg.Sendmail
	var aliases *sendmail.Aliases
	if at.Aliases != "" {
		if aliases, err = sendmail.OpenAliases(at.Aliases, s.localDomain(), s.log); err != nil {
			return fmt.Errorf("sendmail.aliases: %w", err)
		}
	}
	if s.cfg.Wanted("sendmail.socket", at.Socket) {
		if err := os.MkdirAll(filepath.Dir(at.Socket), 0o755); err != nil {
			return fmt.Errorf("sendmail.socket: %w", err)
		}
		l, err := socket.Listen(at.Socket, 0o666, "sendmail's socket", "sendmail.socket")
		if err != nil {
			return err
		}
		s.local.socket = l
		s.smtp.AddLocal(submission.Local{Listener: l, Name: "sendmail", Identify: sendmail.Peer, User: s.cfg.Program, Recipients: aliases.Recipients})
		s.log.Info("listening", "socket", at.Socket, "for", "dawk sendmail")
		if s.local.mailq, err = sendmail.ListenMailq(at.Socket, s.adminHandler()); err != nil {
			return err
		}
	}
	if s.cfg.Wanted("sendmail.drop", at.Drop) {
		if err := os.MkdirAll(filepath.Dir(at.Drop), 0o755); err != nil {
			return fmt.Errorf("sendmail.drop: %w", err)
		}
		if err := sendmail.MakeDrop(at.Drop); err != nil {
			return fmt.Errorf("sendmail.drop: %w", err)
		}
		s.local.collector = &sendmail.Collector{Dir: at.Drop, Accept: s.acceptDropped, Aliases: aliases, Tell: s.teller().Tell, Log: s.log,
			Most: sendmail.MostRecipients(s.cfg.Limits.MaxRecipients, at.RecipientsPerHour, at.RecipientsPerDay)}
	}
	return nil
}

// teller tells of what the drop folder lost. Its notices are bounded as others.
func (s *Server) teller() *sendmail.Teller {
	notices := s.cfg.Notices()
	notices.Bounce.SevenBit = s.converter.Can
	return sendmail.NewTeller(sendmail.Teller{Letters: s.postmaster(), Bounce: notices.Bounce, Domain: s.localDomain(),
		Limit: notices.Limit, Span: notices.Span, NextID: s.queue.NextID, Submit: s.submit, Log: s.log,
		MaySend: func(who string, from relay.Path) bool { return s.cfg.Program(who).MaySend(from) }})
}

// localDomain is for the addresses of programs of this machine that have none.
func (s *Server) localDomain() string { return strings.ToLower(s.cfg.SendmailDomain()) }

// acceptDropped puts a message of the drop folder into the queue.
func (s *Server) acceptDropped(ctx context.Context, m accept.Submission) (relay.QueueID, error) {
	// To give a commit up would leave the file for the next start, and send it twice.
	m.User = s.cfg.Program(m.Identity)
	m.AddFrom, m.CompleteHeader = true, s.localDomain()
	return s.submit(ctx, m)
}
