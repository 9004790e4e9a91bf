package main

import (
	"errors"
	"fmt"
	"time"

	"dawk/cmd/dawk/internal/config"
	"dawk/relay"
	"dawk/relay/admin"
	"dawk/relay/identity"
)

// saveLedger is how often the quotas used are written: after a crash a user
// has them back for as long.
const saveLedger = time.Minute

// ledger is the Ledger of the instance, with the way to stop it.
type ledger struct {
	*identity.Ledger
	stop, stopped chan struct{}
}

func (r *instance) openLedger() error {
	l, err := identity.OpenLedger(r.cfg.LedgerFile(), r.log)
	if err != nil {
		return err
	}
	r.ledger = &ledger{l, make(chan struct{}), make(chan struct{})}
	go r.keepLedger()
	return nil
}

// keepLedger writes it now and then, and at the end.
func (r *instance) keepLedger() {
	defer close(r.ledger.stopped)
	tick := time.NewTicker(saveLedger)
	defer tick.Stop()
	for done := false; !done; {
		select {
		case <-tick.C:
		case <-r.ledger.stop:
			done = true
		}
		if err := r.ledger.Save(); err != nil {
			r.log.Warn("quotas of users are not on disk; they begin anew at the next start", "err", err)
		}
	}
}

func (l *ledger) Close() {
	if l != nil {
		close(l.stop)
		<-l.stopped
	}
}

func (r *instance) userHolds() (list []admin.UserHold) {
	for _, h := range r.ledger.Holds() {
		list = append(list, userHold(h))
	}
	return list
}

func userHold(h identity.Hold) admin.UserHold {
	return admin.UserHold{Name: h.Name, Since: h.Since, Reason: string(h.Reason), Rule: h.Rule}
}

// releaseUser ends the hold of a user; what was held stays so until the
// operator has looked at it.
func (r *instance) releaseUser(name string) (admin.UserHold, error) {
	h, err := r.ledger.Release(name)
	switch {
	case errors.Is(err, identity.ErrUnknown):
		return admin.UserHold{}, fmt.Errorf("the user %s is %w", relay.Sanitize(name), admin.ErrNotHeld)
	case err != nil:
		return admin.UserHold{}, err
	}
	r.observer.Observe(relay.Event{Kind: relay.EventIdentityReleased, Time: time.Now(), Identity: h.Name, Reason: string(h.Reason), Rule: "released by the administrator"})
	return userHold(h), nil
}

// newDevices is the table for listeners of profile "device"; nil without any.
func newDevices(listeners []config.ListenerConfig) *admin.Devices {
	var names []string
	for _, l := range listeners {
		if l.Profile == "device" {
			names = append(names, l.Address)
		}
	}
	if names == nil {
		return nil
	}
	return admin.NewDevices(names)
}
