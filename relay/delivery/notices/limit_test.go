package notices

import (
	"fmt"
	"testing"
	"time"
)

func TestNoticeLimit(t *testing.T) {
	alice, bob := mustPath(t, "alice@example.org"), mustPath(t, "bob@example.org")
	l, _ := testNotices(t)
	l.Limit = 2
	at := func(d time.Duration) time.Time { return arrival.Add(d) }
	for i, c := range []struct {
		after time.Duration
		bob   bool
		want  time.Duration // until when it is held back; 0: it is not
	}{
		{0, false, 0}, {time.Minute, false, 0}, {2 * time.Minute, false, time.Hour}, {time.Hour - 1, false, time.Hour},
		{2 * time.Minute, true, 0},
		{time.Hour, false, 0}, {time.Hour, false, 0}, {time.Hour, false, 2 * time.Hour}, // a new span, from its first notice on
		{-time.Hour, false, 0}, // the clock was set back: nobody waits for longer than a span
		{-time.Hour, false, 0}, {-time.Hour, false, 0 * time.Hour},
	} {
		to := alice
		if c.bob {
			to = bob
		}
		want := time.Time{}
		if c.want != 0 {
			want = at(c.want)
		}
		if i == 10 {
			want = at(0) // the third in the span that began an hour before arrival
		}
		if got := l.take(to, at(c.after), false); !got.Equal(want) {
			t.Errorf("notice %d: held back until %v, want %v", i+1, got, want)
		}
	}
	off, _ := testNotices(t)
	for range 1000 {
		if got := off.take(alice, arrival, false); !got.IsZero() {
			t.Fatal("held back without a limit")
		}
	}
}

// Senders of former spans are forgotten.
func TestNoticeLimitForgets(t *testing.T) {
	l, _ := testNotices(t)
	l.Limit, l.Span = 1, time.Minute
	for i := range 20_000 {
		l.take(mustPath(t, fmt.Sprintf("user%d@example.org", i)), arrival.Add(time.Duration(i)*time.Second), false)
	}
	if n := len(l.mailboxes); n > 2048 {
		t.Errorf("%d senders are remembered; 60 have a span", n)
	}
}
