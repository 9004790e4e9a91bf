package postmaster

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"dawk/relay"
)

// again is how often the postmaster is reminded of a route that stays held.
const again = 24 * time.Hour

// HeldRoutes tells the postmaster of routes that are held: nobody looks into a
// log for mail that does not come.
type HeldRoutes struct {
	letters Letters
	after   time.Duration // on hold; 0: nobody is told
	log     *slog.Logger
	wake    chan struct{} // something to do for Run, maybe

	mu   sync.Mutex
	held map[string]*heldRoute
	free []string // routes that are free again, and of which a letter spoke
}

type heldRoute struct {
	since time.Time
	why   relay.Reply
	next  time.Time // of the next letter
	told  bool
}

// NewHeldRoutes tells of routes that have been held for as long as after; 0:
// of none.
func NewHeldRoutes(letters Letters, after time.Duration, log *slog.Logger) *HeldRoutes {
	return &HeldRoutes{letters: letters, after: after, log: log, wake: make(chan struct{}, 1), held: map[string]*heldRoute{}}
}

// Note records that a route is held or free again. It does not block.
func (h *HeldRoutes) Note(route string, held bool, why relay.Reply) {
	if h.after <= 0 || h.letters.To.IsNull() {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.held[route]
	switch {
	case held && r == nil:
		now := time.Now()
		h.held[route] = &heldRoute{since: now, why: why, next: now.Add(h.after)}
	case !held && r != nil:
		delete(h.held, route)
		if r.told {
			h.free = append(h.free, route)
		}
	}
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// Run hands letters to send when they are due, until ctx ends.
func (h *HeldRoutes) Run(ctx context.Context, send func(context.Context, relay.Notice) error) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.wake:
		case <-timer.C:
		}
		letters, next := h.due(time.Now())
		for _, l := range letters {
			if err := send(ctx, h.letters.Write(l.subject, l.text)); err != nil {
				h.log.Warn("the postmaster cannot be told of a route", "subject", l.subject, "to", h.letters.To.Wire(), "err", err)
			}
		}
		timer.Reset(next)
	}
}

type letter struct{ subject, text string }

// due takes the letters that are due, and says when to ask again.
func (h *HeldRoutes) due(now time.Time) (letters []letter, next time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, route := range h.free {
		letters = append(letters, letter{fmt.Sprintf("Route %s is free again", route),
			fmt.Sprintf("The smart host of route %q takes mail again. It is on its way; nothing was lost.\n", route)})
	}
	h.free = nil
	next = again
	for route, r := range h.held {
		if !r.next.After(now) {
			r.told, r.next = true, now.Add(again)
			letters = append(letters, h.heldLetter(route, r))
		}
		next = min(next, r.next.Sub(now))
	}
	return letters, next
}

func (h *HeldRoutes) heldLetter(route string, r *heldRoute) letter {
	return letter{fmt.Sprintf("Route %s is held: its mail waits", route),
		fmt.Sprintf("The smart host of route %[2]q has taken no mail of the relay %[1]s since\n%[3]s. What it said last:\n\n%[4]s\n\n"+
			"The mail of this route waits and nothing is lost; time on hold does not count towards its lifetime. "+
			"dawk goes on by itself when the smart host takes mail again. See:\n\n    dawk oauth status\n    dawk oauth test %[5]s\n    dawk queue list\n",
			h.letters.Hostname, route, r.since.UTC().Format(time.RFC1123), relay.Sanitize(r.why.Advised()), route)}
}
