package server

import "dawk/relay/admin"

// ends are the certificates, with the time at which each ends.
func (s *Server) ends() (all []admin.Ending) {
	if s.certs != nil {
		all = append(all, admin.Ending{What: "certificate", Name: s.certs.File(), At: s.certs.NotAfter()})
	}
	return all
}

// configState says whether the configuration file is what runs.
func (s *Server) configState() admin.ConfigState {
	loaded, stale := s.running.state()
	c := admin.ConfigState{File: s.cfg.File(), State: admin.ConfigLive, Loaded: loaded}
	if stale {
		c.State = admin.ConfigChanged
	}
	return c
}
