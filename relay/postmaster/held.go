package postmaster

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"dawk/relay"
)

// again is how often the postmaster is reminded of what stays held.
const again = 24 * time.Hour

// maxNamed is how many users a letter names.
const maxNamed = 50

// Holds tells the postmaster of routes and users that are held: nobody looks
// into a log for mail that does not come. It hears of them as a [relay.Observer].
type Holds struct {
	log  *slog.Logger
	wake chan struct{} // something to do for Run, maybe

	mu      sync.Mutex
	letters Letters
	after   time.Duration // a route on hold; between letters about users; 0: nobody is told
	routes  map[string]*hold
	users   map[string]*hold
	quiet   time.Time // until then no letter about users is sent
	free    []string  // routes that are free again, and of which a letter spoke
}

type hold struct {
	name  string
	since time.Time
	why   string
	next  time.Time // of the next letter
	told  bool
}

// NewHolds tells of routes that have been held for as long as after, and of
// users at once, in one letter for all that come within after; 0: of none.
func NewHolds(letters Letters, after time.Duration, log *slog.Logger) *Holds {
	return &Holds{letters: letters, after: after, log: log, wake: make(chan struct{}, 1), routes: map[string]*hold{}, users: map[string]*hold{}}
}

// Configure changes what NewHolds was given, for what is held from now on.
func (h *Holds) Configure(letters Letters, after time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.letters, h.after = letters, after
}

// Observe records that a route or a user is held or free again. It does not
// block.
func (h *Holds) Observe(e relay.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.after <= 0 || h.letters.To.IsNull() {
		return
	}
	now := time.Now()
	switch e.Kind {
	case relay.EventRouteHeld:
		if h.routes[e.Route] == nil {
			h.routes[e.Route] = &hold{name: e.Route, since: e.Time, why: relay.Sanitize(e.Reply.Advised()), next: now.Add(h.after)}
		}
	case relay.EventRouteFree:
		if r := h.routes[e.Route]; r != nil && r.told {
			h.free = append(h.free, e.Route)
		}
		delete(h.routes, e.Route)
	case relay.EventIdentityHeld:
		u := &hold{name: e.Identity, since: e.Time, why: relay.Sanitize(e.Rule), next: now}
		if now.Sub(e.Time) > h.after { // told of before a restart
			u.next = now.Add(h.after)
		}
		h.users[strings.ToLower(e.Identity)] = u
	case relay.EventIdentityReleased:
		delete(h.users, strings.ToLower(e.Identity))
	default:
		return
	}
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// Run hands letters to send when they are due, until ctx ends.
func (h *Holds) Run(ctx context.Context, send func(context.Context, relay.Notice) error) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.wake:
		case <-timer.C:
		}
		letters, from, next := h.due(time.Now())
		for _, l := range letters {
			if err := send(ctx, from.Write(l.subject, l.text)); err != nil {
				h.log.Warn("the postmaster cannot be told of what is held", "subject", l.subject, "to", from.To.Wire(), "err", err)
			}
		}
		timer.Reset(next)
	}
}

type letter struct{ subject, text string }

// due takes the letters that are due, with whose they are, and says when to ask again.
func (h *Holds) due(now time.Time) (letters []letter, from Letters, next time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, route := range h.free {
		letters = append(letters, letter{fmt.Sprintf("Route %s is free again", route),
			fmt.Sprintf("The smart host of route %q takes mail again. It is on its way; nothing was lost.\n", route)})
	}
	h.free = nil
	routes, next := take(h.routes, now)
	for _, r := range routes {
		letters = append(letters, h.aboutRoute(r))
	}
	if now.Before(h.quiet) {
		return letters, h.letters, min(next, h.quiet.Sub(now))
	}
	users, then := take(h.users, now)
	if len(users) > 0 {
		h.quiet = now.Add(h.after)
		letters = append(letters, h.aboutUsers(users))
	}
	return letters, h.letters, min(next, then)
}

// take gives those whose letter is due, by name, and when the next one is.
func take(all map[string]*hold, now time.Time) (due []*hold, next time.Duration) {
	next = again
	for _, r := range all {
		if !r.next.After(now) {
			r.told, r.next = true, now.Add(again)
			due = append(due, r)
		}
		next = min(next, r.next.Sub(now))
	}
	slices.SortFunc(due, func(a, b *hold) int { return cmp.Compare(a.name, b.name) })
	return due, next
}

func (h *Holds) aboutRoute(r *hold) letter {
	return letter{fmt.Sprintf("Route %s is held: its mail waits", r.name),
		fmt.Sprintf("The smart host of route %[2]q has taken no mail of the relay %[1]s since\n%[3]s. What it said last:\n\n%[4]s\n\n"+
			"The mail of this route waits and nothing is lost; time on hold does not count towards its lifetime. "+
			"dawk goes on by itself when the smart host takes mail again. See:\n\n    dawk oauth status\n    dawk oauth test %[5]s\n    dawk queue list\n",
			h.letters.Hostname, r.name, stamp(r.since), r.why, r.name)}
}

func (h *Holds) aboutUsers(held []*hold) letter {
	subject := fmt.Sprintf("%s is held: its mail waits", relay.Sanitize(held[0].name))
	if len(held) > 1 {
		subject = fmt.Sprintf("%d users are held: their mail waits", len(held))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "What these users send through the relay %s looks like spam sent with a stolen password:\n\n", h.letters.Hostname)
	for i, u := range held {
		if i == maxNamed {
			fmt.Fprintf(&b, "    and %d more, named by: dawk health\n", len(held)-i)
			break
		}
		fmt.Fprintf(&b, "    %s, since %s: %s\n", relay.Sanitize(u.name), stamp(u.since), u.why)
	}
	b.WriteString("\nTheir mail is taken and waits until somebody has looked at it; nobody else is told, and nothing is lost. " +
		"If they did not send it themselves, change the password first. See:\n\n    dawk queue list held=true\n    dawk user release NAME\n\n" +
		"The second command says how to release or delete what waits.\n")
	return letter{subject, b.String()}
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC1123) }
