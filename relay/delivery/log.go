package delivery

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"dawk/relay"
)

// logObserver writes the mail log.
type logObserver struct{ log *slog.Logger }

// NewLogObserver writes one line for each event to l. What happens to mail gets one line for each
// recipient, with the queue ID, the addresses, the next hop's own words, and the time of the next
// attempt. Keys that do not apply are left out; those that appear keep their names and their order.
// The comments at the lines below say what each is: docs/log.md is written from them, and from
// those of the kinds of events.
//
// Levels: debug for connections and attempts (their recipients follow); warn for
// mail that failed, users put on hold and providers that slow us down; error for a
// failure that nobody is told of.
func NewLogObserver(l *slog.Logger) relay.Observer { return logObserver{l} }

// Observe writes e.
func (o logObserver) Observe(e relay.Event) {
	level := levelOf(&e) // events are large: none of these copies it
	ctx := context.Background()
	if !o.log.Enabled(ctx, level) {
		return
	}
	a := spareAttrs.Get().(*attrs)
	a.mail(&e)
	a.attempt(&e)
	a.reply(&e)
	o.log.LogAttrs(ctx, level, words(&e), *a...) // which copies them
	clear(*a)
	*a = (*a)[:0]
	spareAttrs.Put(a)
}

// spareAttrs are buffers of 1 KiB; without reuse every message would allocate two.
var spareAttrs = sync.Pool{New: func() any { a := make(attrs, 0, 24); return &a }}

func levelOf(e *relay.Event) slog.Level {
	switch e.Kind {
	case relay.EventAttempted, relay.EventConnected, relay.EventGone:
		return slog.LevelDebug
	case relay.EventFailed, relay.EventExpired, relay.EventSuppressed, relay.EventRouteHeld, relay.EventIdentityHeld, relay.EventProviderSlowed:
		return slog.LevelWarn
	case relay.EventDropped:
		return slog.LevelError
	case relay.EventLogin:
		if e.Reason != "ok" {
			return slog.LevelWarn
		}
	}
	return slog.LevelInfo
}

// words is the event's kind, for which people search; some kinds have an explanation.
func words(e *relay.Event) string {
	switch e.Kind {
	case relay.EventExpired:
		return "expired: its time in the queue is up"
	case relay.EventDropped:
		return "dropped: a failure that nobody can be told of"
	case relay.EventIdentityHeld:
		return "identity_held: its mail is taken and waits; see dawk user release"
	case relay.EventProviderSlowed:
		return "provider slowed: it says that we send too much at a time"
	case relay.EventLogin:
		if e.Reason != "ok" {
			return "login failed"
		}
	}
	return string(e.Kind)
}

type attrs []slog.Attr

func (a *attrs) str(key, v string) {
	if v != "" {
		*a = append(*a, slog.String(key, v))
	}
}

func (a *attrs) num(key string, v int64) {
	if v != 0 {
		*a = append(*a, slog.Int64(key, v))
	}
}

func (a *attrs) time(key string, v time.Time) {
	if !v.IsZero() {
		*a = append(*a, slog.Time(key, v.Truncate(time.Second)))
	}
}

func (a *attrs) duration(key string, v time.Duration) {
	if v != 0 {
		*a = append(*a, slog.Duration(key, v.Round(time.Millisecond)))
	}
}

func (a *attrs) mail(e *relay.Event) {
	if !e.ID.IsZero() {
		a.str("qid", e.ID.String())  // queue ID
		a.str("from", e.From.Wire()) // reverse-path, in angle brackets
	} else if !e.From.IsNull() {
		a.str("from", e.From.Wire())
	}
	if !e.Recipient.IsNull() {
		a.str("rcpt", e.Recipient.Wire()) // recipient, in angle brackets
	}
	a.str("identity", e.Identity) // who submitted it: a user, `network:…`, `local:…`, or `dawk` for notices
	a.str("client", e.Client)     // the client's address
	a.str("listener", e.Listener) // where the client came in
	a.str("session", e.Session)   // the ID of the client's connection: at level debug the whole dialogue stands under it
	switch e.Kind {
	case relay.EventAccepted, relay.EventRefused:
		a.str("msgid", relay.Sanitize(e.MessageID)) // Message-ID
		a.num("size", e.Size)                       // octets
	}
	a.num("nrcpt", int64(e.Count)) // number of recipients
}

func (a *attrs) attempt(e *relay.Event) {
	a.str("dest", e.Destination)                  // the domain, or `route:NAME`
	a.str("route", e.Route)                       // name of the route, or `mx`
	a.str("source", e.Source)                     // name of the `[[source]]`
	a.str("provider", relay.Sanitize(e.Provider)) // who runs the host
	a.str("mx", e.Host)                           // the host
	a.str("addr", e.Addr)                         // the host's address
	a.str("tls", e.TLS)                           // version and cipher
	a.str("tls_level", string(e.TLSLevel))        // what the delivery reached: [values](tls.md#where-to-look)
	a.str("tls_policy", e.TLSPolicy)              // who asked for more than the configuration
	a.str("tls_try", e.TLSTry)                    // which try of TLS succeeded, if not the first
	a.str("tls_failed", e.TLSFailed)              // how the try before it failed
	if !e.SentAs.IsNull() {
		a.str("sent_as", e.SentAs.Wire()) // the mailbox that replaces the one in From
	}
	a.num("attempt", int64(e.Attempt))    // number of the attempt
	a.duration("took", e.Took.Duration()) // duration of the attempt or acceptance; in JSON in nanoseconds
	a.duration("age", e.Age)              // time since acceptance; in JSON in nanoseconds
}

// status is Enhanced for replies of servers, which decides what we do. For our own replies to
// clients it is the status as sent: a 5yz of ours is class 5.
func status(e *relay.Event) relay.Status {
	switch e.Kind {
	case relay.EventRefused, relay.EventLogin, relay.EventRouteHeld: // the last: their words, as they were
		return e.Reply.Status
	}
	return e.Reply.Enhanced()
}

func (a *attrs) reply(e *relay.Event) {
	if !e.Reply.IsZero() {
		a.num("code", int64(e.Reply.Code))              // of the server's reply; missing where dawk found something itself, except in replies to clients
		a.str("status", status(e).String())             // the enhanced status: what we said to a client, or what we make of a server's words; for a held route what the server said
		a.str("reply", relay.Sanitize(e.Reply.Text))    // the server's words, or what dawk found itself
		a.str("remedy", relay.Sanitize(e.Reply.Remedy)) // what an administrator can do about it
	}
	if e.Unknown {
		*a = append(*a, slog.Bool("unknown", true)) // no reply came after the end of the message: it may arrive twice
	}
	a.time("next", e.Next)    // time of the next try
	a.str("rule", e.Rule)     // why then
	a.str("reason", e.Reason) // category of the reply, or why something was refused or held
	if !e.NoticeID.IsZero() {
		a.str("notice", e.NoticeID.String()) // queue ID of a notice
	}
	a.str("kind", e.NoticeKind) // of the notice: `failed`, `delayed`, `relayed`, `late`, `double-bounce`, `digest`
}
