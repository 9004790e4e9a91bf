package shaping

import (
	"fmt"
	"testing"
	"time"

	"dawk/relay"
)

// mailOf is a message of an identity to a domain.
func mailOf(id uint64, identity, domain string) Mail {
	return Mail{relay.QueueID{Key: id}, []string{"identity " + identity, "domain " + domain}}
}

// gate is a Gate with a clock that only the test moves.
type gate struct {
	Gate
	at time.Time
}

const every = 30 * time.Second

func (g *gate) after(d time.Duration) { g.at = g.at.Add(d) }
func (g *gate) shut(m Mail) bool {
	_, _, shut := g.Shut(g.at, every, m)
	return shut
}
func (g *gate) hold(m Mail) Verdict {
	return g.Hold(g.at, every, m, false, relay.Reply{Code: 554, Stage: relay.StageAuth})
}

// accept is mail that the host takes; it says whether the gate opens.
func (g *gate) accept() bool {
	g.after(time.Second)
	return g.Passed(g.at, true) && g.Open()
}

// What brings a hold on may be one message. Another one probes where there is
// one, and what a message brings on twice while others pass holds nothing.
func TestOneMessageHoldsNobodyForLong(t *testing.T) {
	bad, good := mailOf(1, "shop", "a.test"), mailOf(2, "office", "b.test")
	g := gate{at: time.Unix(1_000_000, 0)}
	early := g.at
	g.after(time.Second)
	if v := g.hold(bad); v.Since.IsZero() || !v.First || !g.shut(good) {
		t.Fatal("the first time is no hold")
	}
	if g.Passed(early, true) {
		t.Error("mail that was under way before the hold ends it")
	}
	if g.after(every); !g.shut(bad) {
		t.Error("the message that brought the hold on probes, and another waits")
	}
	if g.shut(good) {
		t.Error("the other may not probe")
	}
	if g.after(time.Second); !g.shut(good) || !g.accept() {
		t.Error("mail that is taken does not end the hold")
	}
	if g.after(time.Second); g.hold(bad) != (Verdict{Final: true}) || g.shut(good) {
		t.Error("the second time holds the others")
	}

	// Where all mail is refused, each message may bring it on as often as it likes.
	g.after(time.Hour)
	for range 3 {
		if g.hold(mailOf(3, "shop", "a.test")).Since.IsZero() || g.hold(good).Since.IsZero() {
			t.Fatal("no hold, and nothing passed")
		}
		g.after(time.Hour)
	}
	// The only message probes itself.
	if g.shut(good) {
		t.Error("nobody probes")
	}
}

// An identity with many bad messages, and a domain that the smart host takes
// nothing for, bring on one hold while mail is taken: each message waits alone,
// and is returned when it hears the same again.
func TestManyBadMessagesHoldNobodyForLong(t *testing.T) {
	for name, bad := range map[string]func(i uint64) Mail{
		"of one identity":                        func(i uint64) Mail { return mailOf(i, "shop", fmt.Sprint(i, ".test")) },
		"of everybody's identity, to one domain": func(i uint64) Mail { return mailOf(i, "office", "a.test") },
		"to one domain":                          func(i uint64) Mail { return mailOf(i, fmt.Sprint("user", i), "a.test") },
	} {
		t.Run(name, func(t *testing.T) {
			const many = 3000
			good := mailOf(1, "office", "b.test")
			g := gate{at: time.Unix(1_000_000, 0)}
			g.accept()
			g.after(time.Second)
			if g.hold(bad(2)).Since.IsZero() {
				t.Fatal("the first time is no hold")
			}
			g.after(time.Second)
			if !g.shut(good) {
				t.Fatal("the hold lets others pass")
			}
			g.after(every)
			for i := range uint64(many) {
				if !g.shut(bad(3 + i)) {
					t.Fatal("a bad one probes before the good one")
				}
			}
			if g.shut(good) || !g.accept() {
				t.Fatal("the good one may not probe")
			}
			for i := range uint64(many) {
				g.after(time.Second)
				if v := g.hold(bad(10_000 + i)); v != (Verdict{}) {
					t.Fatalf("bad message %d: %+v", i, v)
				}
				if g.after(time.Second); g.shut(good) {
					t.Fatal("the good one waits")
				}
				g.accept()
			}
			if v := g.hold(bad(10_000 + many - 1)); !v.Final {
				t.Errorf("the second time: %+v", v)
			}
			// Whoever is excused is so while mail is taken: then the account is in trouble.
			if g.after(passing); g.hold(bad(90_000)).Since.IsZero() {
				t.Error("no mail was taken for an hour, and nothing is held")
			}
		})
	}
}

// What one recipient hears while others of the message are taken is not about
// the account.
func TestMailOfWhichAPartWasTakenHoldsNothing(t *testing.T) {
	g := gate{at: time.Unix(1_000_000, 0)}
	if v := g.Hold(g.at, every, mailOf(1, "shop", "a.test"), true, relay.Reply{Code: 554}); v != (Verdict{}) {
		t.Errorf("%+v", v)
	}
}

// A login that works again ends a hold for the login, and not one that mail
// brought on.
func TestWhatEndsAHold(t *testing.T) {
	at := time.Unix(1_000_000, 0)
	for _, by := range []relay.QueueID{{}, {Key: 1}} {
		var g Gate
		g.Hold(at, time.Minute, Mail{ID: by}, false, relay.Reply{Code: 535})
		if free := g.Passed(at.Add(time.Second), false); free != (by == relay.QueueID{}) {
			t.Errorf("brought on by %v: a verdict without mail being taken frees it: %v", by, free)
		}
	}
}

func TestAGateRemembersFewMessages(t *testing.T) {
	g := gate{at: time.Unix(1_000_000, 0)}
	for i := range uint64(5 * maxBlamed) {
		g.hold(mailOf(i, fmt.Sprint(i), fmt.Sprint(i, ".test")))
	}
	if n, s := len(g.messages.young)+len(g.messages.old), len(g.sources.young)+len(g.sources.old); n > 2*maxBlamed || s > 2*maxBlamed {
		t.Errorf("%d messages, %d sources", n, s)
	}
}
