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

// NewLogObserver writes one line an event to l: for what happens to mail one
// line a recipient, with the queue ID, the addresses, the next hop's own words,
// and when it is tried again. Keys that do not apply are left out; those that
// appear keep their names and their order; docs/operations.md says what each is:
//
//	qid from rcpt identity client listener session msgid size nrcpt dest route source provider mx
//	addr tls tls_level tls_policy tls_try tls_failed sent_as attempt took age code status reply unknown next rule reason notice kind
//
// session names the client's connection: with [log] level = "debug" the whole
// dialogue stands under it. status is what we said to a client, or what we make
// of a server's words for the sender (relay.Reply.Enhanced); of a route that is
// held it is what the server said.
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

// spareAttrs are 1 KiB each, of which every message would take two.
var spareAttrs = sync.Pool{New: func() any { a := make(attrs, 0, 24); return &a }}

func levelOf(e *relay.Event) slog.Level {
	switch e.Kind {
	case relay.EventAttempted, relay.EventConnected, relay.EventGone:
		return slog.LevelDebug
	case relay.EventFailed, relay.EventExpired, relay.EventRouteHeld, relay.EventIdentityHeld, relay.EventProviderSlowed:
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

// words is the event's kind, which is what people search for, and for some
// what it means.
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
		a.str("qid", e.ID.String())
		a.str("from", e.From.Wire())
	} else if !e.From.IsNull() {
		a.str("from", e.From.Wire())
	}
	if !e.Recipient.IsNull() {
		a.str("rcpt", e.Recipient.Wire())
	}
	a.str("identity", e.Identity)
	a.str("client", e.Client)
	a.str("listener", e.Listener)
	a.str("session", e.Session)
	switch e.Kind {
	case relay.EventAccepted, relay.EventRefused:
		a.str("msgid", relay.Sanitize(e.MessageID))
		a.num("size", e.Size)
	}
	a.num("nrcpt", int64(e.Count))
}

func (a *attrs) attempt(e *relay.Event) {
	a.str("dest", e.Destination)
	a.str("route", e.Route)
	a.str("source", e.Source)
	a.str("provider", relay.Sanitize(e.Provider))
	a.str("mx", e.Host)
	a.str("addr", e.Addr)
	a.str("tls", e.TLS)
	a.str("tls_level", string(e.TLSLevel))
	a.str("tls_policy", e.TLSPolicy)
	a.str("tls_try", e.TLSTry)
	a.str("tls_failed", e.TLSFailed)
	if !e.SentAs.IsNull() {
		a.str("sent_as", e.SentAs.Wire())
	}
	a.num("attempt", int64(e.Attempt))
	a.duration("took", e.Took)
	a.duration("age", e.Age)
}

// status is Enhanced for what servers said to us, which decides what we do. To
// a client we spoke ourselves, and meant it: a 5yz of ours is class 5.
func status(e *relay.Event) relay.Status {
	switch e.Kind {
	case relay.EventRefused, relay.EventLogin, relay.EventRouteHeld: // the last: their words, as they were
		return e.Reply.Status
	}
	return e.Reply.Enhanced()
}

func (a *attrs) reply(e *relay.Event) {
	if !e.Reply.IsZero() {
		a.num("code", int64(e.Reply.Code))
		a.str("status", status(e).String())
		a.str("reply", relay.Sanitize(e.Reply.Text))
		a.str("remedy", relay.Sanitize(e.Reply.Remedy))
	}
	if e.Unknown {
		*a = append(*a, slog.Bool("unknown", true))
	}
	a.time("next", e.Next)
	a.str("rule", e.Rule)
	a.str("reason", e.Reason)
	if !e.NoticeID.IsZero() {
		a.str("notice", e.NoticeID.String())
	}
	a.str("kind", e.NoticeKind)
}
