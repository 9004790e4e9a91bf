package server

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"dawk/relay/tlsrpt"
)

// saveLedger is how often the quotas used are written: after a crash a user
// has them back for as long.
const saveLedger = time.Minute

// Listen opens every door, so that a port that is taken is told before
// anything is delivered. Close closes them again.
func (s *Server) Listen() (err error) {
	s.closeLater(s.closeDoors)
	if err := errors.Join(s.smtp.Listen(), s.returns.listen()); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.inherited.rest()) }()
	if err := s.listenLocal(); err != nil {
		return err
	}
	if s.http, err = s.openHTTP(s.now()); err != nil {
		return err
	}
	if s.http != nil {
		s.now().handler = s.httpHandler(s.now(), s.http.Door)
	}
	return s.listenAdmin()
}

// closeDoors closes every listener and the connections of HTTP.
func (s *Server) closeDoors() error {
	if s.http != nil {
		s.http.close(time.Second)
	}
	for _, c := range s.sockets {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second) // for the end of an answer
		if c.server.Shutdown(ctx) != nil {
			c.server.Close()
		}
		cancel()
		c.Close()
	}
	if s.local.socket != nil {
		s.local.socket.Close()
	}
	if s.local.mailq != nil {
		s.local.mailq.Close()
	}
	over, cancel := context.WithCancel(context.Background())
	cancel()
	_ = s.smtp.Shutdown(over) // its clients have gone, or never came
	s.returns.close()
	return nil
}

// Run serves until ctx ends or the disk cannot be trusted any more, then stops
// in the order of the mail: clients, attempts, queue.
func (s *Server) Run(ctx context.Context) error {
	running := &s.running.helpers
	var recording sync.WaitGroup
	record, stopRecording := context.WithCancel(context.Background())
	if s.records != nil {
		recording.Go(func() { s.record(record) })
	}
	dispatched := make(chan error, 1)
	attempting, stopAttempting := context.WithCancel(context.Background())
	running.Go(func() { s.now().transport.Run(attempting) })
	running.Go(func() {
		defer stopAttempting()
		dispatched <- s.dispatcher.Run(s.running.background)
	})
	s.startHelpers(s.running.background, running)

	served := make(chan error, 1)
	failed := s.serve(ctx, served, dispatched)

	if s.kept == nil {
		notify("STOPPING=1\nSTATUS=stopping")
	} else {
		// Not STOPPING=1: systemd would kill the program that goes on in this process when the time
		// for a stop is over, whatever that says (sd_notify(3)).
		notifyReloading("handing over to the new program")
		ctx, cancel := context.WithTimeout(context.Background(), leaveClients)
		s.smtp.Leave(ctx)
		cancel()
	}
	s.running.end() // clients and attempts drain at the same time
	drain, cancel := context.WithTimeout(context.Background(), drainClients)
	defer cancel()
	if err := s.smtp.Shutdown(drain); err != nil {
		s.log.Warn("clients were cut off; what they were sending was not acknowledged", "err", err)
	}
	failed = errors.Join(failed, <-dispatched, s.closeDoors())
	running.Wait()
	failed = errors.Join(failed, s.Close())
	stopRecording()
	recording.Wait()
	if failed == nil {
		s.log.Info("stopped; the queue is closed")
	}
	return failed
}

// startHelpers starts what runs beside the dispatcher, until ctx ends or its
// door closes.
func (s *Server) startHelpers(ctx context.Context, running *sync.WaitGroup) {
	running.Go(func() { s.boundHeap(ctx) })
	running.Go(func() { s.keepLedger(ctx) })
	running.Go(func() { s.suppressed.Run(ctx) })
	if s.returns != nil {
		running.Go(func() { s.returns.Run(ctx) })
		running.Go(func() { s.returns.serve(ctx, s) })
	}
	running.Go(func() { s.rates.Run(ctx, func() int { return s.dispatcher.Backlog().Total }) })
	running.Go(func() { s.acts.Run(ctx, s.queue.Room, s.log) })
	running.Go(func() { s.holds.run(ctx, s.dispatcher) })
	running.Go(func() { s.takeLists(ctx) })
	if s.purses != nil {
		running.Go(func() { s.purses.Run(ctx) })
	}
	if s.shares != nil {
		running.Go(func() { s.keepShares(ctx) })
	}
	if s.desk != nil {
		running.Go(func() { s.desk.Run(ctx) })
	}
	running.Go(func() { s.letters.Run(ctx, s.sendLetter) })
	for _, c := range s.sockets {
		running.Go(func() { c.server.Serve(c.Listener) }) //nolint:errcheck // ends with the door
	}
	if s.local.mailq != nil {
		running.Go(s.local.mailq.Serve)
	}
	s.serveHTTP(s.http)
}

func (s *Server) serveHTTP(d *httpDoor) {
	if d != nil {
		s.running.helpers.Go(func() { d.Serve(d.server) }) //nolint:errcheck // ends with the door
	}
}

// serve lets clients in once the queue is loaded, and waits for the reason to
// stop; nil: ctx ended. Accepting earlier would let mail wait unscheduled.
func (s *Server) serve(ctx context.Context, served, dispatched chan error) error {
	select {
	case <-s.dispatcher.Ready():
		s.running.helpers.Go(func() { served <- s.smtp.Serve() })
		s.startSetup(s.running.background, &s.running.helpers, s.now(), nil)
		close(s.running.started)
		s.running.helpers.Go(func() { s.keepNotified(s.running.background) })
		s.notifyReady()
		s.log.Info("ready", "deliveries", s.dispatcher.Stats().Queued, "start_took", time.Since(s.began).Round(time.Millisecond))
	case err := <-dispatched:
		dispatched <- nil
		return err
	case <-ctx.Done():
		return nil
	}
	select {
	case <-ctx.Done():
		return nil
	case <-s.running.drained:
		return nil
	case err := <-s.distrusted:
		return err
	case err := <-served:
		if s.running.draining() {
			return s.awaitDrained(ctx, dispatched)
		}
		return fmt.Errorf("accepting connections ended: %w", err)
	case err := <-dispatched:
		dispatched <- nil
		return fmt.Errorf("the dispatcher ended: %w", err)
	}
}

// awaitDrained is serve for a relay that takes nothing new any more.
func (s *Server) awaitDrained(ctx context.Context, dispatched chan error) error {
	select {
	case <-s.running.drained:
	case <-ctx.Done():
	case err := <-s.distrusted:
		return err
	case err := <-dispatched:
		dispatched <- nil
		return fmt.Errorf("the dispatcher ended: %w", err)
	}
	return nil
}

func (s *Server) record(ctx context.Context) {
	if err := s.records.Run(ctx); err != nil {
		s.log.Warn("the end of the history may be missing", "error", err)
	}
}

// keepLedger writes the quotas used now and then, and at the end.
func (s *Server) keepLedger(ctx context.Context) {
	tick := time.NewTicker(saveLedger)
	defer tick.Stop()
	for done := false; !done; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			done = true
		}
		if err := s.ledger.Save(); err != nil {
			s.log.Warn("quotas of users are not on disk; they begin anew at the next start", "err", err)
		}
	}
}

// reporter sends TLS reports, where the configuration wants that.
func (s *Server) reporter(st *setup) *tlsrpt.Reporter {
	contact := "postmaster@" + st.cfg.Hostname
	if p := st.cfg.PostmasterPath(); !p.IsNull() {
		contact = p.String()
	}
	r := &tlsrpt.Reporter{Counters: s.counters, From: tlsrpt.Sender{Organization: st.cfg.Hostname, Contact: contact}, Log: s.log}
	if st.cfg.Delivery.TLSReports {
		r.Way = reportWay{s}
	}
	return r
}
