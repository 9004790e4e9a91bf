package filter

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"dawk/relay"
)

// Queued is a Delivery of a message. Terms about recipients and replies look at the recipients that
// are still open.
type Queued struct {
	Message  *relay.Message
	Delivery *relay.Delivery
	MaxAge   time.Duration // lifetime of a message that has none of its own; 0: it is not known
}

// Queue is what a filter may say of queued mail.
var Queue = Grammar[Queued]{
	HasID: func(q Queued, id relay.QueueID) bool { return q.Message.ID == id },
	Fields: slices.Concat([]Field[Queued]{
		Mailbox("to", "to=@example.com", "a recipient that is still open: address, @domain, or with *", Queued.recipients).Or("rcpt", "recipient"),
		Mailbox("from", "from=user@example.org", "the sender; from=<> for bounces and other notices", One(func(q Queued) string { return q.Message.From.String() })).Or("sender"),
		Text("identity", "identity=printer", "who submitted it: a user's name, or network:192.0.2.0/24", One(func(q Queued) string { return q.Message.Identity })).Or("user"),
		Text("client", "client=192.0.2.7", "the address it came from", One(func(q Queued) string { return q.Message.Client })),
		Domain("dest", "dest=example.com", "its next hop: a domain or, where a smart host takes it,\nroute:NAME; to=@example.com is the recipients' domain", One(func(q Queued) string { return q.Delivery.Destination })).Or("destination"),
		Text("route", "route=office", "the route it goes by; route=mx where there is none", One(Queued.route)),
		Domain("domain", "domain=example.com", "the domain of a recipient that is still open", func(q Queued, f func(string) bool) bool {
			return q.recipients(func(to string) bool { return f(to[strings.LastIndexByte(to, '@')+1:]) })
		}),
		Text("provider", "provider=google", "who takes its mail, as dawk queue providers has it", func(q Queued, f func(string) bool) bool {
			route, ok := strings.CutPrefix(q.Delivery.Provider, "route:") // a smart host is found by its name, too
			return f(q.Delivery.Provider) || ok && f(route)
		}),
		Choice("state", "state=deferred", "state", "held, active, suspended, deferred or ready: the first that holds", relay.DeliveryStates(),
			One(func(q Queued) string { return q.Delivery.Activity.State.String() })),
		Text("reason", "reason=mailbox_full", "the category of the last reply, as in the history", func(q Queued, f func(string) bool) bool {
			return slices.ContainsFunc(q.Delivery.Open, func(o relay.Open) bool { return o.Reason != "" && f(o.Reason) })
		}),
		MessageID(One(func(q Queued) string { return q.Message.MessageID })),
		Ahead("due", "due<10m", "time until its next try; what is on hold has none", func(q Queued) time.Time {
			if q.Delivery.Held {
				return time.Time{}
			}
			return q.Delivery.Due
		}),
		Ahead("expires", "expires<1d", "time until a failed try returns it to its sender;\nwhat is on hold has none", Queued.Expires),
		Number("size", "size>1MiB", "KiB, MiB, GiB, or bytes", relay.ParseSize, One(func(q Queued) relay.Size { return relay.Size(q.Message.Size) })),
		Number("attempts", "attempts>=3", "attempts made so far", strconv.Atoi, One(func(q Queued) int { return q.Delivery.Attempts })).Or("tries"),
		Text("mta", "mta=*.example.net", "the server that gave the last reply", func(q Queued, f func(string) bool) bool {
			return q.replies(func(r relay.Reply) bool { return !r.IsZero() && f(r.MTA) })
		}).Or("host"),
		Truth("held", "held=true", "on hold", func(q Queued) bool { return q.Delivery.Held }),
		Truth("notice", "notice=true", "written by dawk itself", func(q Queued) bool { return q.Message.Notice }),
	}, Replies(Queued.replies), Times("it was accepted", func(q Queued) time.Time { return q.Message.Arrival })),
}

// Expires is when the first attempt that fails afterwards gives it up. Zero: the time does not
// pass, since it is on hold, or the lifetime is not known.
func (q Queued) Expires() time.Time {
	life := q.Message.Lifetime(q.MaxAge)
	if life == 0 || q.Delivery.Held {
		return time.Time{}
	}
	return q.Message.Released().Add(life + q.Delivery.HeldFor.Duration())
}

// recipients calls f with the open recipients until it says true.
func (q Queued) recipients(f func(string) bool) bool {
	return slices.ContainsFunc(q.Delivery.Open, func(o relay.Open) bool {
		return o.Recipient >= 0 && o.Recipient < len(q.Message.Recipients) && f(q.Message.Recipients[o.Recipient].Path.String())
	})
}

func (q Queued) replies(f func(relay.Reply) bool) bool {
	return slices.ContainsFunc(q.Delivery.Open, func(o relay.Open) bool { return f(o.Last) })
}

// route is the name of its route, "mx" without one.
func (q Queued) route() string {
	if name, ok := strings.CutPrefix(q.Delivery.Destination, "route:"); ok {
		return name
	}
	return relay.RouteMX
}

// Recipients are the open recipients of a Delivery that f picks one by one, as indexes into
// Message.Recipients: those for which every term holds when it is looked at alone. An act that ends
// mail must not hit those who only share its route.
func Recipients(f Of[Queued], q Queued) (picked []int) {
	one := *q.Delivery
	for i, o := range q.Delivery.Open {
		one.Open = q.Delivery.Open[i : i+1 : i+1]
		if f.Match(Queued{q.Message, &one, q.MaxAge}) {
			picked = append(picked, o.Recipient)
		}
	}
	return picked
}
