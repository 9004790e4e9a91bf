package admin

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"dawk/relay"
	"dawk/relay/replies"
)

// adviseDelivery says in plain words what keeps d here and what would unblock
// it: first what concerns the Delivery as a whole, then each different reply.
func adviseDelivery(m *relay.Message, d *relay.Delivery, y *WhyDelivery, now time.Time) []string {
	advice := []string{}
	add := func(s string) {
		if s != "" && !slices.Contains(advice, s) {
			advice = append(advice, s)
		}
	}
	if !y.RouteHeldSince.IsZero() {
		add(fmt.Sprintf("Route %q is held since %s for trouble with its login or account: %s. Its mail waits and does not bounce meanwhile. After correcting it: dawk oauth test %s",
			y.Route, y.RouteHeldSince.UTC().Format(moment), strings.TrimRight(y.RouteHeldBy.String(), ". "), y.Route))
		add(y.RouteHeldBy.Remedy)
	}
	switch {
	case y.Chosen == relay.RouteMX:
		add("An operator has sent it to the MX hosts of its domain, whatever the routes say.")
	case y.Chosen != "" && y.Chosen == y.Route:
		add(fmt.Sprintf("An operator has sent it to route %q, whatever the conditions of the routes say.", y.Route))
	case y.Chosen != "":
		add(fmt.Sprintf("An operator has sent it to route %q, which is not in the configuration any more: from its next attempt on it takes route %q.", y.Chosen, y.Route))
	}
	add(adviseState[y.State](m, d, y, now))
	if p := y.Provider; p != nil && p.Keeps() && y.State != relay.StateHeld && y.State != relay.StateActive {
		add(fmt.Sprintf("Waiting for %s: %s.", p.Called(), p.Said))
		if p.State == relay.LoadBudget {
			add(fmt.Sprintf("It waits for the budget of route %q until %s: the smart host takes only so many messages in that time. Nothing to do; it is sent by itself.",
				y.Route, p.Until.UTC().Format(moment)))
		}
	}
	if d.Unknown {
		add("The last time the server took the whole message and never answered. It may have been delivered already, so the next attempt may make a duplicate; dawk leaves more time before it.")
	}
	for _, o := range d.Open {
		add(adviseReply(o.Last, y.Route))
	}
	return advice
}

// adviseState says what each state means for a Delivery.
var adviseState = map[relay.DeliveryState]func(m *relay.Message, d *relay.Delivery, y *WhyDelivery, now time.Time) string{
	relay.StateHeld: func(m *relay.Message, d *relay.Delivery, _ *WhyDelivery, _ time.Time) string {
		why := ""
		if d.Rule != "" {
			why = " (" + strings.TrimPrefix(d.Rule, "on hold ") + ")"
		}
		return fmt.Sprintf("It is on hold%s and is not tried until somebody releases it: dawk queue release %s", why, m.ID)
	},
	relay.StateActive: func(_ *relay.Message, _ *relay.Delivery, y *WhyDelivery, now time.Time) string {
		return attempted(y, now)
	},
	relay.StateSuspended: func(*relay.Message, *relay.Delivery, *WhyDelivery, time.Time) string {
		return "Its destination is left alone for a while; then one delivery tries how things are. dawk queue retry tries now."
	},
	relay.StateDeferred: func(m *relay.Message, d *relay.Delivery, _ *WhyDelivery, now time.Time) string {
		switch {
		case d.Attempts > 0:
			return ""
		case m.NotBefore.After(now):
			return "Its sender asked for a later delivery (FUTURERELEASE). dawk queue retry sends it now."
		}
		return "It has not been tried yet; it waits for its time."
	},
	relay.StateReady: func(_ *relay.Message, _ *relay.Delivery, y *WhyDelivery, now time.Time) string {
		return inLine(y.Turn, now)
	},
}

// inLine says when the turn of a Delivery comes.
func inLine(t relay.Turn, now time.Time) string {
	if t.Place == 0 {
		return "It waits for its turn, which comes when a connection is free."
	}
	s := fmt.Sprintf("It waits for its turn: number %d of the %d that are ready for the same provider", t.Place, t.Of)
	if t.At.After(now) {
		s += fmt.Sprintf(", whose rate lets it go in %s at the earliest (%s)", t.At.Sub(now).Round(time.Second), t.At.UTC().Format("15:04:05 UTC"))
	}
	return s + "."
}

// attempted says how far an attempt is.
func attempted(y *WhyDelivery, now time.Time) string {
	switch {
	case y.Since.IsZero():
		return "It is being attempted at this moment."
	case y.Host == "":
		return fmt.Sprintf("It is being attempted at this moment: dawk looks for a host, since %s.", ago(y.Since, now))
	}
	cut := "dawk queue retry --now cuts the attempt and begins another."
	if y.Stage == relay.StageBody {
		cut = "Once the final dot is on its way the attempt cannot be cut; before that, dawk queue retry --now cuts it."
	}
	return fmt.Sprintf("It is being attempted at this moment: with %s, at the stage %q since %s. %s",
		y.Host, string(y.Stage), ago(y.Since, now), cut)
}

func ago(t, now time.Time) string {
	return fmt.Sprintf("%s (%s)", t.UTC().Format("15:04:05 UTC"), max(0, now.Sub(t)).Round(time.Second))
}

// adviseReply translates one reply; "" when there is none.
func adviseReply(r relay.Reply, route string) string {
	if r.IsZero() {
		return ""
	}
	if r.Code == 0 {
		return adviseSilence(r, route)
	}
	return adviseServer(r, route)
}

// adviseSilence explains what happened without a server's word.
func adviseSilence(r relay.Reply, route string) string {
	if fix := strings.TrimSuffix(r.Remedy, "."); r.Stage == relay.StageAuth && fix != "" {
		return fmt.Sprintf("Logging in at the smart host of route %q failed: %s.", route, fix)
	}
	switch r.Stage {
	case relay.StageDNS:
		return "The DNS gave no usable answer for the destination. If other domains fail too, look at our own resolver: dawk check. If only this one does, its owner must correct its DNS; dawk goes on trying."
	case relay.StageConnect, relay.StageGreeting:
		if route != "mx" {
			return fmt.Sprintf("No connection to the smart host of route %q. Check its name, its port and the firewall between; dawk goes on trying.", route)
		}
		return "None of the destination's servers could be reached. If no destination can be, our provider may block port 25: dawk check. Otherwise their server is down, and dawk goes on trying."
	case relay.StageTLS:
		return "TLS with the server failed, and the policy does not allow to go on without. The server's certificate must be mended, or the route's tls level lowered."
	case relay.StageAuth:
		return fmt.Sprintf("Logging in at the smart host failed. Check user and password_file of route %q; all mail of this route waits.", route)
	case relay.StageRoute:
		return "dawk itself put it off: " + r.Text
	}
	return "The connection broke or stood still in the middle of the dialogue. One such failure means nothing; if it repeats at the same stage, a firewall or a scanner on the way is the usual cause."
}

// adviseServer explains what a server said.
func adviseServer(r relay.Reply, route string) string {
	fix := strings.TrimSuffix(r.Remedy, ".")
	switch {
	case r.Stage == relay.StageRoute:
		return "The smart host takes no more from us for now; dawk waits and continues by itself."
	case r.Stage == relay.StageAuth && fix != "":
		return fmt.Sprintf("The smart host refused the login of route %q: %s.", route, fix)
	case r.Stage == relay.StageAuth:
		return fmt.Sprintf("The smart host refused our login. Check user and password_file of route %q; all mail of this route waits.", route)
	case r.Stage == relay.StageTLS:
		return "The server refused STARTTLS, and the policy does not allow to go on without. The server must be mended, or the route's tls level lowered."
	}
	if known := replies.Find(r).Remedy; known != "" {
		return known
	}
	switch {
	case r.Code == 421:
		return "The server closed the connection before it took the message: busy, or tired of us. dawk goes on trying."
	case r.Code/100 == 5:
		return "The server refused, but not this message: it speaks of the host or of our account there. That must be corrected on one of the two sides; the mail waits."
	}
	return "The server put it off; its words are all there is to know. dawk goes on trying until the message expires."
}
