package server

import (
	"context"
	"fmt"
	"time"

	"dawk/relay"
	"dawk/relay/delivery"
	"dawk/relay/limits"
)

const (
	// shareLook is how often a machine looks whether it is within its shares.
	shareLook = 250 * time.Millisecond
	// shareGrace is how long attempts may hold connections that are another machine's now.
	shareGrace = 8 * time.Second
	// leaseGrace is that for a machine that the others no longer see: they take over two seconds
	// after its lease.
	leaseGrace = time.Second
)

// keepShares keeps what is in use within our shares of the limits, and tells the other machines
// when it is, until ctx ends. Attempts that have sent their final dot are never cut: another
// machine would send their mail again.
func (s *Server) keepShares(ctx context.Context) {
	tick := time.NewTicker(shareLook)
	defer tick.Stop()
	kept, leased, since := int64(0), true, time.Now() // the generation that the dispatcher knows of
	for news := false; ; news = false {
		select {
		case <-s.shares.News():
			news = true
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		latest, is := s.shares.Latest(), s.shares.Leased()
		if latest != kept || is != leased {
			kept, leased, since, news = latest, is, time.Now(), true
		}
		if news {
			s.dispatcher.Reallow()
		}
		if leased && s.shares.Acked() == latest {
			continue
		}
		grace := shareGrace
		if !leased {
			grace = leaseGrace
		}
		over := s.dispatcher.Excess(time.Since(since) >= grace) + s.now().transport.Shrink()
		if over == 0 && leased {
			s.shares.Acknowledge(latest)
		}
	}
}

// spend counts a message with its recipients in the rates of a provider, together with the other
// machines.
func (s *Server) spend(provider string, a delivery.Allowance, messages, recipients int, owed bool) time.Time {
	if s.purses == nil {
		return time.Time{}
	}
	of := func(what string, r relay.Rate) limits.Limit {
		return limits.Limit{Name: fmt.Sprintf("%s to %s: %s", what, provider, r), Most: r.N, Per: r.Per}
	}
	byMessage, byRecipient := of("messages", a.Rate), of("recipients", a.RecipientRate)
	switch {
	case owed:
		if byMessage.Most > 0 && messages > 0 {
			s.purses.Owe(byMessage, messages)
		}
		if byRecipient.Most > 0 && recipients > 0 {
			s.purses.Owe(byRecipient, recipients)
		}
		return time.Time{}
	case byRecipient.Most > 0:
		if wait := s.purses.Has(byRecipient); !wait.IsZero() {
			return wait
		}
	}
	if byMessage.Most > 0 {
		if wait := s.purses.Has(byMessage); !wait.IsZero() {
			return wait
		}
		s.purses.Owe(byMessage, messages)
	}
	if byRecipient.Most > 0 {
		s.purses.Owe(byRecipient, recipients)
	}
	return time.Time{}
}
