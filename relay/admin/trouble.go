package admin

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"dawk/relay"
)

// moment is how sentences write a time.
const moment = "2006-01-02 15:04:05 UTC"

// troubles are what an administrator should see to, and what a restart would not
// mend.
func (h *handler) troubles(now time.Time) (all []Trouble) {
	add := func(about, remedy, format string, args ...any) {
		all = append(all, Trouble{About: about, Text: fmt.Sprintf(format, args...), Remedy: remedy})
	}
	if err := h.Queue.Room(); full(err) {
		add("disk", "make room: delivery goes on meanwhile", "new mail is refused: %v", err)
	}
	if h.Store != nil {
		if n := h.Store().Corrupt; n > 0 {
			add("queue", "see dawk queue verify", "%d damaged records were set aside", n)
		}
	}
	if h.Troubles != nil {
		all = append(all, h.Troubles()...)
	}
	if h.Events != nil {
		e := h.Events()
		all = append(all, e.troubles(now)...)
	}
	for _, r := range h.heldRoutes() {
		remedy := r.Reply.Remedy
		if remedy == "" {
			remedy = "mend its login or account, then dawk oauth test " + r.Route
		}
		add("route", remedy, "route %s is held since %s: %s", r.Route, r.Since.UTC().Format(moment), r.Reply)
	}
	for _, p := range h.Dispatcher.Providers() {
		route, ok := strings.CutPrefix(p.Name, routePrefix)
		if ok && p.Unreachable() && h.routeHeld(route).Since.IsZero() {
			add("route", "check the host and the way to it: dawk check", "the smart host of route %s cannot be reached since %s: %s", route, p.Since.UTC().Format(moment), p.Failure)
		}
	}
	if h.Holds != nil {
		for _, u := range h.Holds() {
			add("user", "see dawk user release", "the user %s is on hold: %s", u.Name, u.Rule)
		}
	}
	return all
}

// full says whether new mail is refused for want of room, which a restart would not mend.
func full(err error) bool { return errors.Is(err, relay.ErrNoSpace) }
