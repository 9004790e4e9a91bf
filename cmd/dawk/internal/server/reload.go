package server

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"dawk/cmd/dawk/internal/config"
	"dawk/relay/admin"
	"dawk/relay/admin/audit"
)

// running is what a reload needs to know of a relay that runs.
type running struct {
	reload     sync.Mutex // held through a reload, which may wait for the file
	background context.Context
	stop       context.CancelFunc
	started    chan struct{}  // closed when clients are let in
	drain      chan struct{}  // closed when nothing new is taken any more
	drained    chan struct{}  // closed when nothing is due any more
	helpers    sync.WaitGroup // all goroutines

	mu      sync.Mutex // for moments: health and metrics ask
	loaded  time.Time  // when the configuration in force was read
	refused error      // why the last file that was read is not in force; nil: it is
	restart []string   // keys of it that wait for a restart
	looked  os.FileInfo
	stale   bool // when it was looked at
}

func newRunning(now time.Time) (r *running) {
	r = &running{loaded: now, started: make(chan struct{}), drain: make(chan struct{}), drained: make(chan struct{})}
	r.background, r.stop = context.WithCancel(context.Background())
	return r
}

// end ends what runs beside the dispatcher, and lets no reload begin.
func (r *running) end() {
	r.reload.Lock()
	defer r.reload.Unlock()
	r.stop()
}

// state says since when the configuration is in force, and whether the file holds
// another. The file is read only when it has changed.
func (r *running) state(cfg *config.Config) (loaded time.Time, stale bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refused != nil {
		return r.loaded, true
	}
	info, err := os.Stat(cfg.File())
	// A file that has just been written may be written again within the same tick
	// of the file system's clock.
	same := err == nil && r.looked != nil && os.SameFile(info, r.looked) && info.Size() == r.looked.Size() &&
		info.ModTime().Equal(r.looked.ModTime()) && time.Since(info.ModTime()) > 2*time.Second
	if !same {
		r.looked, r.stale = info, cfg.Stale()
	}
	return r.loaded, r.stale
}

// set notes what came of a reload.
func (r *running) set(refused error, changes []config.Change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.looked = nil
	if r.refused = refused; refused == nil {
		r.loaded, r.restart = time.Now(), nil
		for _, c := range changes {
			if c.Restart {
				r.restart = append(r.restart, c.Key)
			}
		}
	}
}

// HangUp is Reload for a SIGHUP: the log has what came of it.
func (s *Server) HangUp() {
	if err := s.audit.Append(audit.Record{Time: time.Now(), Who: "SIGHUP", Verb: "reload"}); err != nil {
		s.log.Error("a reload is not in the audit log", "error", err)
	}
	_, _ = s.Reload()
}

// Reload reads the configuration file again, checks it as at the start, and puts
// it in force. All or nothing: with an error nothing has changed. It may be called
// by any goroutine, and waits for another.
func (s *Server) Reload() ([]admin.ConfigChange, error) {
	r := s.running
	r.reload.Lock()
	defer r.reload.Unlock()
	select {
	case <-r.started:
	default:
		return nil, errors.New("the relay is starting; try again when it is ready")
	}
	if r.background.Err() != nil || r.draining() {
		return nil, errors.New("the relay is stopping")
	}
	notifyReloading("reading the configuration again")
	defer s.notifyReady()
	before := s.now()
	changes, err := s.reload(before)
	r.set(err, changes)
	if err != nil {
		s.log.Error("the configuration was read again and is refused; nothing has changed", "file", before.cfg.File(), "error", err)
		return nil, err
	}
	told := make([]admin.ConfigChange, 0, len(changes))
	for _, c := range changes {
		what := "the configuration has changed"
		if c.Restart {
			what = "the configuration has changed; this key needs a restart and is not in force"
		}
		s.log.Info(what, "key", c.Key, "from", c.From, "to", c.To)
		told = append(told, admin.ConfigChange(c))
	}
	if len(changes) == 0 {
		s.log.Info("the configuration was read again; no key has changed", "file", before.cfg.File())
	}
	return told, nil
}

func (s *Server) reload(before *setup) ([]config.Change, error) {
	next, err := before.cfg.Reread()
	if err != nil {
		return nil, err
	}
	cfg, changes := before.cfg.TakeOver(next)
	st, err := s.newSetup(cfg, before)
	if err == nil {
		err = s.complete(st, before)
	}
	if err == nil {
		err = s.replace(st, before)
	}
	if err != nil && st != nil {
		st.logins.CloseBut(before.logins)
	}
	return changes, err
}

// replace opens what st needs besides the doors of before, and puts it in force.
// An error leaves everything as it was.
func (s *Server) replace(st, before *setup) error {
	cfg, auth := s.submissionConfig(st)
	smtp, err := s.smtp.Prepare(cfg, st.acceptor, auth)
	if err != nil {
		return err
	}
	door, err := s.openHTTP(st)
	if err == nil {
		err = s.suppressed.Configure(st.cfg.SuppressionRules())
	}
	if err != nil {
		smtp.Discard()
		if door != nil {
			door.close(0)
		}
		return err
	}
	old := s.http
	switch {
	case door != nil:
		s.http = door
	case st.cfg.HTTP.Address == "":
		s.http = nil
	default:
		old = nil // it stays
	}
	if s.http != nil {
		st.handler = s.httpHandler(st, s.http.Door)
		s.http.Limit(st.cfg.Limits.MaxConnectionsPerIP)
	}
	st.transport.TakeOver(before.transport)
	s.swap.Lock() // no attempt takes the old one from now on
	s.setup.Store(st)
	s.swap.Unlock()
	s.queue.Outbox().SetLimits(st.cfg.OutboxLimits())
	smtp.Commit()
	s.dispatcher.Reconfigure(s.deliveryConfig(st.cfg))
	s.backoff.Limit(st.cfg.Limits.AuthFailuresPerIP)
	s.letters.Configure(letters(st.cfg), time.Duration(st.cfg.Bounce.HeldNotice))
	s.devices.Watch(devices(st.cfg))
	s.metrics.SetProviders(providers(st.cfg))
	s.host.Configure(st.cfg.Log)
	warnOfHostname(st.cfg, s.log)
	s.serveHTTP(door)
	if old != nil {
		s.running.helpers.Go(func() { old.close(drainClients) })
	}
	s.startSetup(s.running.background, &s.running.helpers, st, before)
	s.retire(&s.running.helpers, st, before)
	return nil
}

// configuration is what is in force, for whoever asks.
func (s *Server) configuration() admin.Configuration {
	c := s.now().cfg
	_, stale := s.running.state(c)
	return Configuration(c, true, stale)
}

// Configuration is c for people and programs.
func Configuration(c *config.Config, live, stale bool) admin.Configuration {
	out := admin.Configuration{File: c.File(), Live: live, Stale: stale}
	for _, set := range c.Settings() {
		out.Settings = append(out.Settings, admin.Setting(set))
	}
	return out
}
