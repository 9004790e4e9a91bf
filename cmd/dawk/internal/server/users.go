package server

import (
	"errors"
	"fmt"
	"time"

	"dawk/cmd/dawk/internal/config"
	"dawk/relay"
	"dawk/relay/admin"
	"dawk/relay/identity"
)

func (s *Server) userHolds() (list []admin.UserHold) {
	for _, h := range s.ledger.Holds() {
		list = append(list, userHold(h))
	}
	return list
}

func userHold(h identity.Hold) admin.UserHold {
	return admin.UserHold{Name: h.Name, Since: h.Since, Reason: string(h.Reason), Rule: h.Rule}
}

// releaseUser ends the hold of a user; what was held stays so until the
// operator has looked at it.
func (s *Server) releaseUser(name string) (admin.UserHold, error) {
	h, err := s.ledger.Release(name)
	switch {
	case errors.Is(err, identity.ErrUnknown):
		return admin.UserHold{}, fmt.Errorf("the user %s is %w", relay.Sanitize(name), admin.ErrNotHeld)
	case err != nil:
		return admin.UserHold{}, err
	}
	s.observer.Observe(relay.Event{Kind: relay.EventIdentityReleased, Time: time.Now(), Identity: h.Name, Reason: string(h.Reason), Rule: "released by the administrator"})
	return userHold(h), nil
}

// devices are the listeners of profile "device".
func devices(cfg *config.Config) (names []string) {
	for _, l := range cfg.Listeners {
		if l.Profile == "device" {
			names = append(names, l.Address)
		}
	}
	return names
}
