package server

import (
	"dawk/relay"
	"dawk/relay/admin"
)

// ends are the certificates, with the time at which each ends.
func (s *Server) ends() (all []admin.Ending) {
	if certs := s.now().certs; certs != nil {
		all = append(all, admin.Ending{What: "certificate", Name: certs.File(), At: certs.NotAfter()})
	}
	return all
}

// configState says whether the configuration file is what runs.
func (s *Server) configState() admin.ConfigState {
	cfg := s.now().cfg
	loaded, stale := s.running.state(cfg)
	c := admin.ConfigState{File: cfg.File(), State: admin.ConfigLive, Loaded: loaded}
	s.running.mu.Lock()
	defer s.running.mu.Unlock()
	c.Restart = s.running.restart
	switch {
	case s.running.refused != nil:
		c.State, c.Why = admin.ConfigRefused, relay.Sanitize(s.running.refused.Error())
	case len(c.Restart) > 0:
		c.State = admin.ConfigRestart
	case stale:
		c.State = admin.ConfigChanged
	}
	return c
}
