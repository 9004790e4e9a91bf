package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"

	"dawk/cmd/dawk/internal/config"
	"dawk/relay"
	"dawk/relay/accept"
	"dawk/relay/admin"
	"dawk/relay/identity"
	"dawk/relay/limits"
	"dawk/relay/sendmail"
	"dawk/relay/submission"
)

// localDoor is how programs of this machine hand in mail: a socket on which
// they speak SMTP, and a folder for when the relay did not run.
type localDoor struct {
	socket    net.Listener        // nil: none
	collector *sendmail.Collector // nil: no folder
	collected sync.WaitGroup
	// Notices about files of each user that are no mail; only the collector
	// uses them. They are bounded as bounce.limit bounds notices.
	lost     limits.Windows[string]
	mostLost int // 0: no limit
}

// listenLocal opens the socket and makes the folder.
func (r *instance) listenLocal() error {
	s := r.cfg.Sendmail
	if r.cfg.Wanted("sendmail.socket", s.Socket) {
		if err := os.MkdirAll(filepath.Dir(s.Socket), 0o755); err != nil {
			return fmt.Errorf("sendmail.socket: %w", err)
		}
		l, err := admin.ListenMode(s.Socket, 0o666, "sendmail's socket", "sendmail.socket")
		if err != nil {
			return err
		}
		r.local.socket = l
		r.server.AddLocal(submission.Local{Listener: l, Name: "sendmail", Identify: sendmail.Peer, PerUser: s.Policy()})
		r.log.Info("listening", "socket", s.Socket, "for", "dawk sendmail")
	}
	if r.cfg.Wanted("sendmail.drop", s.Drop) {
		if err := os.MkdirAll(filepath.Dir(s.Drop), 0o755); err != nil {
			return fmt.Errorf("sendmail.drop: %w", err)
		}
		if err := sendmail.MakeDrop(s.Drop); err != nil {
			return fmt.Errorf("sendmail.drop: %w", err)
		}
		r.local.mostLost, r.local.lost.Span, _ = config.ParseNoticeLimit(r.cfg.Bounce.Limit) // checked
		r.local.lost.Most = 1000
		r.local.collector = &sendmail.Collector{Dir: s.Drop, Accept: r.acceptDropped, Most: r.mostDropped,
			Tell: r.tellOfLost, Log: r.log}
	}
	return nil
}

// acceptDropped puts a message of the drop folder into the queue.
func (r *instance) acceptDropped(ctx context.Context, s accept.Submission) (relay.QueueID, error) {
	// A commit that is on its way is waited for: to give it up would leave the
	// file for the next start, and send it twice.
	if policy := r.cfg.Sendmail.Policy(); policy.Watched() {
		s.User = identity.ForProgram(s.Identity, policy)
	}
	return r.acceptor.Submit(context.WithoutCancel(ctx), s)
}

// mostDropped is how many recipients a message of the drop folder may have.
// What its sender may write to in an hour or a day would be enough to let it
// pass at all; the half of it passes beside the sender's other mail.
func (r *instance) mostDropped(string) int {
	most := r.cfg.Limits.MaxRecipients
	for _, quota := range []int{r.cfg.Sendmail.RecipientsPerHour, r.cfg.Sendmail.RecipientsPerDay} {
		if half := max(1, quota/2); quota > 0 && (most == 0 || half < most) {
			most = half
		}
	}
	return most
}

// collect takes mail from the folder until ctx ends.
func (d *localDoor) collect(ctx context.Context) {
	if d.collector != nil {
		d.collected.Go(func() { d.collector.Run(ctx) })
	}
}

// Close waits for the collector, whose context has ended.
func (d *localDoor) Close() {
	d.collected.Wait()
	if d.socket != nil {
		d.socket.Close()
	}
}
