package server

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"dawk/relay"
	"dawk/relay/accept"
	"dawk/relay/limits"
	"dawk/relay/sendmail"
	"dawk/relay/socket"
	"dawk/relay/submission"
)

// localDoor is how programs of this machine hand in mail: a socket on which
// they speak SMTP, and a folder for when the relay did not run.
type localDoor struct {
	socket    net.Listener        // nil: none
	queue     *http.Server        // mailq's; nil: none
	queueL    net.Listener        // its socket
	collector *sendmail.Collector // nil: no folder
	// Notices about files of each user that are no mail; only the collector
	// uses them. They are bounded as bounce.limit bounds notices.
	lost     limits.Windows[string]
	mostLost int // 0: no limit
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
		if err := s.listenMailq(at.Socket); err != nil {
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
		limit := s.cfg.Notices()
		s.local.mostLost, s.local.lost.Span, s.local.lost.Most = limit.Limit, limit.Span, 1000
		s.local.collector = &sendmail.Collector{Dir: at.Drop, Accept: s.acceptDropped, Most: s.mostDropped, Aliases: aliases,
			Tell: s.tellOfLost, Log: s.log}
	}
	return nil
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

// mostDropped is how many recipients a message of the drop folder may have.
// What its sender may write to in an hour or a day would be enough to let it
// pass at all; the half of it passes beside the sender's other mail.
func (s *Server) mostDropped(string) int {
	most := s.cfg.Limits.MaxRecipients
	for _, quota := range []int{s.cfg.Sendmail.RecipientsPerHour, s.cfg.Sendmail.RecipientsPerDay} {
		if half := max(1, quota/2); quota > 0 && (most == 0 || half < most) {
			most = half
		}
	}
	return most
}
