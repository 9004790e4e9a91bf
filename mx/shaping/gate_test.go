package shaping

import (
	"testing"
	"time"

	"dawk/relay"
)

// What brings a hold on may be one message. Another one probes where there is
// one, and what a message brings on twice while others pass holds nothing.
func TestOneMessageHoldsNobodyForLong(t *testing.T) {
	const every = 30 * time.Second
	bad, good := relay.QueueID{Key: 1}, relay.QueueID{Key: 2}
	why := relay.Reply{Code: 554, Stage: relay.StageAuth}
	var g Gate
	at := time.Unix(1_000_000, 0)
	after := func(d time.Duration) time.Time { at = at.Add(d); return at }
	shut := func(m relay.QueueID) bool { _, _, shut := g.Shut(at, every, m); return shut }
	hold := func(m relay.QueueID) bool { since, _ := g.Hold(at, every, m, why); return !since.IsZero() }

	early := at
	after(time.Second)
	if !hold(bad) || !shut(good) {
		t.Fatal("the first time is no hold")
	}
	if g.Passed(good, early, true) {
		t.Error("mail that was under way before the hold ends it")
	}
	if after(every); !shut(bad) {
		t.Error("the message that brought the hold on probes, and another waits")
	}
	if shut(good) {
		t.Error("the other may not probe")
	}
	if after(time.Second); !shut(good) || !g.Passed(good, at, true) || !g.Open() {
		t.Error("mail that is taken does not end the hold")
	}
	if after(time.Second); hold(bad) || shut(good) {
		t.Error("the second time holds the others")
	}

	// Where all mail is refused, each message may bring it on as often as it likes.
	after(time.Hour)
	other := relay.QueueID{Key: 3}
	for range 3 {
		if !hold(other) || !hold(good) {
			t.Fatal("no hold, and nothing passed")
		}
		after(time.Hour)
	}
	// The only message probes itself.
	if shut(good) {
		t.Error("nobody probes")
	}
}

// A login that works again ends a hold for the login, and not one that mail
// brought on.
func TestWhatEndsAHold(t *testing.T) {
	at := time.Unix(1_000_000, 0)
	for _, by := range []relay.QueueID{{}, {Key: 1}} {
		var g Gate
		g.Hold(at, time.Minute, by, relay.Reply{Code: 535})
		if free := g.Passed(relay.QueueID{Key: 2}, at.Add(time.Second), false); free != (by == relay.QueueID{}) {
			t.Errorf("brought on by %v: a verdict without mail being taken frees it: %v", by, free)
		}
	}
}

func TestAGateRemembersFewMessages(t *testing.T) {
	var g Gate
	at := time.Unix(1_000_000, 0)
	for i := range uint64(3 * maxBlamed) {
		g.Hold(at.Add(time.Duration(i)), time.Minute, relay.QueueID{Key: i + 1}, relay.Reply{})
	}
	if _, there := g.blamed[relay.QueueID{Key: 3 * maxBlamed}]; len(g.blamed) != maxBlamed || !there {
		t.Errorf("%d messages, the newest among them: %v", len(g.blamed), there)
	}
}
