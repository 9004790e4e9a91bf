package delivery_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"dawk/relay"
	"dawk/relay/delivery"
)

func TestLogLines(t *testing.T) {
	id := relay.QueueID{Key: 1_770_000_000_000_000, Dir: 99}
	base := relay.Event{ID: id, From: path("sender@example.org"), Recipient: path("a@dest.test"), Identity: "app", Destination: "dest.test"}
	with := func(kind relay.EventKind, change func(*relay.Event)) relay.Event {
		e := base
		e.Kind = kind
		if change != nil {
			change(&e)
		}
		return e
	}
	for _, c := range []struct {
		e    relay.Event
		want string
	}{
		{with(relay.EventDelayed, func(e *relay.Event) {
			e.Route, e.Host, e.Addr, e.TLS, e.Attempt, e.Took = "mx", "mx.dest.test", "192.0.2.1", "TLS1.3", 2, relay.Millis(1500*time.Millisecond)
			e.TLSLevel, e.TLSPolicy, e.Source = relay.TLSUnverified, "mta-sts-testing", "out1"
			e.Reply, e.Reason, e.Rule = greylist, "greylisted", "retry step 2 of 6: 5m ±10 %"
			e.Next = time.Date(2026, 3, 1, 12, 0, 0, 5, time.UTC)
		}), `level=INFO msg=delayed qid=` + id.String() + ` from=<sender@example.org> rcpt=<a@dest.test> identity=app dest=dest.test route=mx source=out1 mx=mx.dest.test addr=192.0.2.1 tls=TLS1.3 tls_level=unverified tls_policy=mta-sts-testing attempt=2 took=1.5s code=451 status=4.7.1 reply="greylisted, come back later" next=2026-03-01T12:00:00.000Z rule="retry step 2 of 6: 5m ±10 %" reason=greylisted`},
		{with(relay.EventRelayed, func(e *relay.Event) {
			e.TLSLevel, e.TLSFailed = relay.TLSFallback, "mx.dest.test: 454 not now"
		}), `level=INFO msg=relayed qid=` + id.String() + ` from=<sender@example.org> rcpt=<a@dest.test> identity=app dest=dest.test tls_level=fallback tls_failed="mx.dest.test: 454 not now"`},
		{with(relay.EventFailed, func(e *relay.Event) {
			e.Reply = relay.Reply{Code: 550, Stage: relay.StageRcpt, Text: "no\r\nqid=forged"}
		}), `level=WARN msg=failed qid=` + id.String() + ` from=<sender@example.org> rcpt=<a@dest.test> identity=app dest=dest.test code=550 status=5.0.0 reply="no  qid=forged"`},
		{with(relay.EventDropped, func(e *relay.Event) { e.From, e.Reason = relay.Path{}, "no-postmaster" }),
			`level=ERROR msg="dropped: a failure that nobody can be told of" qid=` + id.String() + ` from=<> rcpt=<a@dest.test> identity=app dest=dest.test reason=no-postmaster`},
		{with(relay.EventNotified, func(e *relay.Event) { e.NoticeID, e.NoticeKind, e.Recipient = id, "failed", e.From }),
			`level=INFO msg=notified qid=` + id.String() + ` from=<sender@example.org> rcpt=<sender@example.org> identity=app dest=dest.test notice=` + id.String() + ` kind=failed`},
		{relay.Event{Kind: relay.EventLogin, Identity: "app", Client: "192.0.2.9", Session: "t0-1", Reason: "credentials",
			Reply: relay.Reply{Code: 535, Status: relay.Status{Class: 5, Subject: 7, Detail: 8}, Text: "wrong"}},
			`level=WARN msg="login failed" identity=app client=192.0.2.9 session=t0-1 code=535 status=5.7.8 reply=wrong reason=credentials`},
		{relay.Event{Kind: relay.EventRefused, Client: "192.0.2.9", Reason: "relay_denied", Reply: relay.Reply{Code: 550, Status: relay.Status{Class: 5, Subject: 7, Detail: 1}, Text: "denied"}},
			`level=INFO msg=refused client=192.0.2.9 code=550 status=5.7.1 reply=denied reason=relay_denied`},
		{relay.Event{Kind: relay.EventConnected, Client: "192.0.2.9", Listener: "192.0.2.1:587"}, `level=DEBUG msg=connected client=192.0.2.9 listener=192.0.2.1:587`},
	} {
		var b bytes.Buffer
		opts := &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: func(g []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}}
		delivery.NewLogObserver(slog.New(slog.NewTextHandler(&b, opts))).Observe(c.e)
		if got := strings.TrimSuffix(b.String(), "\n"); got != c.want {
			t.Errorf("%s:\n%s, want\n%s", c.e.Kind, got, c.want)
		}
	}
}
