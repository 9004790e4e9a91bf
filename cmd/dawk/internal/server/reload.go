package server

import (
	"sync"
	"time"

	"dawk/cmd/dawk/internal/config"
	"dawk/relay/admin"
)

// running is the configuration that is in force: that of the start, with what
// reloads have changed since.
type running struct {
	reload sync.Mutex // held through a reload, which may wait for the file

	mu      sync.Mutex // for moments: health and metrics ask
	cfg     *config.Config
	loaded  time.Time
	refused bool // the last file that was read
}

// config is what is in force now.
func (r *running) config() *config.Config {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cfg
}

// state says since when the configuration is in force, and whether the file holds
// another.
func (r *running) state() (loaded time.Time, stale bool) {
	r.mu.Lock()
	cfg, loaded, refused := r.cfg, r.loaded, r.refused
	r.mu.Unlock()
	return loaded, refused || cfg.Stale()
}

// Reload reads the configuration file again, checks it as at the start, and takes
// over what changes without a restart. Its error is that of config.Load; then
// nothing has changed. It may be called by any goroutine, and waits for another.
func (s *Server) Reload() ([]admin.ConfigChange, error) {
	r := &s.running
	r.reload.Lock()
	defer r.reload.Unlock()
	s.cfg.Settle()
	next, err := config.Load(s.cfg.File())
	if err != nil {
		r.mu.Lock()
		r.refused = true
		r.mu.Unlock()
		s.log.Error("the configuration was read again and is refused; nothing has changed", "file", s.cfg.File(), "error", err)
		return nil, err
	}
	cfg, changes := r.config().TakeOver(next)
	s.dispatcher.Reconfigure(s.deliveryConfig(cfg))
	r.mu.Lock()
	r.cfg, r.loaded, r.refused = cfg, time.Now(), false
	r.mu.Unlock()
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
		s.log.Info("the configuration was read again; no key has changed", "file", s.cfg.File())
	}
	return told, nil
}

// configuration is what is in force, for whoever asks.
func (s *Server) configuration() admin.Configuration {
	_, stale := s.running.state()
	c := s.running.config()
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
