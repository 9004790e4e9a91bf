package admin

import (
	"fmt"
	"strings"
	"time"

	"dawk/relay"
	"dawk/relay/replies"
)

// adviseDelivery says in plain words what keeps d here and what would unblock
// it: first what concerns the Delivery as a whole, then each different reply.
func adviseDelivery(m *relay.Message, d *relay.Delivery, where relay.Where, route string, now time.Time) []string {
	var advice []string
	switch state := stateOf(d, where, now); {
	case state == "in progress":
		advice = append(advice, attempted(where, now))
	case state == "held":
		why := ""
		if d.Rule != "" {
			why = " (" + strings.TrimPrefix(d.Rule, "on hold ") + ")"
		}
		advice = append(advice, fmt.Sprintf("It is on hold%s and is not tried until somebody releases it: dawk queue release %s", why, m.ID))
	case state == "ready" && where.Ahead > 1:
		advice = append(advice, fmt.Sprintf("It waits for its turn: %d deliveries to the same destination are ready.", where.Ahead))
	case state == "ready":
		advice = append(advice, "It waits for its turn, which comes when a connection is free.")
	case state == "new" && m.NotBefore.After(now):
		advice = append(advice, "Its sender asked for a later delivery (FUTURERELEASE). dawk queue retry sends it now.")
	case state == "new":
		advice = append(advice, "It has not been tried yet; it waits for its time.")
	}
	if p := where.Provider; p != nil && where.Place == "ready" {
		if why := p.Why(now); why != "" {
			advice = append(advice, fmt.Sprintf("Waiting for %s: %s.", p.Called(), why))
		}
	}
	if where.Budget && where.RestUntil.After(now) && !d.Held {
		advice = append(advice, fmt.Sprintf("It waits for the budget of route %q until %s: the smart host takes only so many messages in a time. Nothing to do; it goes by itself.", route, where.RestUntil.UTC().Format(time.RFC3339)))
	} else if where.RestUntil.After(now) && !d.Held {
		advice = append(advice, fmt.Sprintf("Its destination has not let dawk in lately and is left alone for another %s; then one delivery tries how things are.", where.RestUntil.Sub(now).Round(time.Second)))
	}
	if d.Unknown {
		advice = append(advice, "The last time the server took the whole message and never answered. It may have been delivered already, so the next attempt may make a duplicate; dawk leaves more time before it.")
	}
	said := make(map[string]bool)
	for _, o := range d.Open {
		if a := adviseReply(o.Last, route); a != "" && !said[a] {
			said[a] = true
			advice = append(advice, a)
		}
	}
	return advice
}

// attempted says how far an attempt is.
func attempted(where relay.Where, now time.Time) string {
	switch {
	case where.Since.IsZero():
		return "It is being attempted at this moment."
	case where.Host == "":
		return fmt.Sprintf("It is being attempted at this moment: dawk looks for a host, since %s.", ago(where.Since, now))
	}
	return fmt.Sprintf("It is being attempted at this moment: with %s, at the stage %q since %s. dawk queue retry --now cuts the attempt and begins another.",
		where.Host, string(where.Stage), ago(where.Since, now))
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
		return "The DNS gave no usable answer for the destination. If other domains fail too, look at our own resolver: dawk check. If only this one does, its owner must mend its DNS; dawk goes on trying."
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
		return "The smart host has had enough from us for now; dawk waits and goes on by itself."
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
		return "The server refused, but not this message: it speaks of the host or of our account there. That must be mended on one of the two sides; the mail waits."
	}
	return "The server put it off; its words are all there is to know. dawk goes on trying until the message expires."
}
