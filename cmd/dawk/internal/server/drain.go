package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"dawk/relay/admin"
	"dawk/relay/socket"
)

// drainEvery is how often a drain looks whether it is done.
const drainEvery = 100 * time.Millisecond

// giveAwayWithin is how long a drain waits until other nodes have its mail: long attempts, and
// others that drain too, may keep it.
const giveAwayWithin = time.Minute

// draining says whether the relay takes nothing new and will end.
func (r *running) draining() bool {
	select {
	case <-r.drain:
		return true
	default:
		return false
	}
}

// drain has the relay take nothing new, deliver what is due, and end, and tells of
// its progress until then. What waits for a later time stays in the queue.
func (s *Server) drain(ctx context.Context, each func(admin.Draining)) {
	s.running.reload.Lock()
	if !s.running.draining() && s.running.background.Err() == nil {
		close(s.running.drain)
		s.running.helpers.Go(s.deliverDue)
	}
	s.running.reload.Unlock()
	tick := time.NewTicker(drainEvery)
	defer tick.Stop()
	last := admin.Draining{Due: -1}
	for done := false; !done; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		case <-s.running.drained:
			done = true
		case <-s.running.background.Done():
			done = true
		}
		if now := s.leftToDrain(); now != last {
			each(now)
			last = now
		}
	}
}

func (s *Server) leftToDrain() admin.Draining {
	left := s.dispatcher.Left()
	return admin.Draining{Due: left, Stays: s.dispatcher.Stats().Queued - left}
}

// drainsNow says how far a drain is, if the relay drains.
func (s *Server) drainsNow() (admin.Draining, bool) {
	if !s.running.draining() {
		return admin.Draining{}, false
	}
	return s.leftToDrain(), true
}

// HandOver keeps the sockets of clients open beyond the end of Run, for a program
// that takes the place of this one in the same process, and gives the variable of the
// environment that tells it of them. The caller ends Run, then runs that program.
func (s *Server) HandOver() (env string, err error) {
	s.running.reload.Lock()
	defer s.running.reload.Unlock()
	var names strings.Builder
	keep := func(address string, l net.Listener) {
		f, failed := l.(interface{ File() (*os.File, error) }).File()
		if failed == nil {
			var c syscall.RawConn
			if c, failed = f.SyscallConn(); failed == nil {
				failed = c.Control(func(fd uintptr) {
					unix.FcntlInt(fd, unix.F_SETFD, 0) //nolint:errcheck // it is open
					fmt.Fprintf(&names, "%d %s\n", fd, address)
				})
			}
			s.kept = append(s.kept, f)
		}
		socket.Keep(l)
		err = errors.Join(err, failed)
	}
	s.smtp.Sockets(keep)
	if s.http != nil {
		keep(s.http.of.Address, s.http.Listener)
	}
	if s.local.socket != nil {
		keep(s.now().cfg.Sendmail.Socket, s.local.socket)
	}
	return handedOver + "=" + names.String(), err
}

// deliverDue closes running.drained when clients have gone and nothing is due.
func (s *Server) deliverDue() {
	s.log.Info("draining: nothing new is taken; the relay ends when what is due has been attempted", "due", s.dispatcher.Left())
	ctx, cancel := context.WithTimeout(s.running.background, drainClients)
	defer cancel()
	if err := s.smtp.Shutdown(ctx); err != nil {
		s.log.Warn("clients were cut off; what they were sending was not acknowledged", "err", err)
	}
	if q, ok := s.queue.(shared); ok {
		ctx, cancel := context.WithTimeout(s.running.background, giveAwayWithin)
		q.GiveAway(ctx)
		cancel()
	}
	s.dispatcher.Drain()
	tick := time.NewTicker(drainEvery)
	defer tick.Stop()
	for s.dispatcher.Left() > 0 {
		select {
		case <-tick.C:
		case <-s.running.background.Done():
			return
		}
	}
	close(s.running.drained)
}
