package delivery_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dawk/bounce"
	"dawk/relay"
	"dawk/relay/delivery"
	"dawk/relay/delivery/notices"
)

// inbox collects the notices that reach their mailbox, and fails the rest.
type inbox struct {
	mu  sync.Mutex
	got []string
}

func (b *inbox) answer(_ context.Context, task relay.Task) relay.Result {
	if !task.Message.Notice {
		return all(task, noUser)
	}
	text, err := io.ReadAll(io.NewSectionReader(task.Content, 0, task.Content.Size()))
	if err != nil {
		text = []byte(err.Error())
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.got = append(b.got, string(text))
	return all(task, relayed)
}

func (b *inbox) mail() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.got...)
}

// What is beyond the limit is told at the end of the span in one list, which
// names every message; the next span begins anew; others are not concerned.
func TestTooManyNoticesBecomeADigest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, delivery.Config{Notices: notices.Config{Limit: 2}})
		var box inbox
		r.hop.script = box.answer
		for i := range 7 {
			r.store.accept(mail("sender@example.org", fmt.Sprintf("user%d@dest.test", i)))
		}
		r.store.accept(mail("other@example.org", "someone@dest.test"))
		pass(30 * time.Minute)
		if got := box.mail(); len(got) != 3 {
			t.Fatalf("%d notices before the span ended, want 2 and 1", len(got))
		}
		if n := r.store.waiting(); n != 5 || r.store.queued() != 0 {
			t.Fatalf("%d rows wait, want 5; %d are queued", n, r.store.queued())
		}
		pass(31 * time.Minute)
		got := box.mail()
		if len(got) != 4 || r.store.queued() != 0 {
			t.Fatalf("%d notices, %d left", len(got), r.store.queued())
		}
		told := strings.Join(got, "\n")
		for i := range 7 {
			if n := strings.Count(told, fmt.Sprintf("Final-Recipient: rfc822; user%d@dest.test", i)); n != 1 {
				t.Errorf("user%d is told of %d times", i, n)
			}
		}
		digest := got[3]
		if strings.Count(digest, "\r\nFinal-Recipient: ") != 5 || !strings.Contains(digest, "Subject: 5 notices about your messages") {
			t.Errorf("%s", digest)
		}
		r.store.accept(mail("sender@example.org", "later@dest.test"))
		pass(time.Minute)
		if got := box.mail(); len(got) != 5 || !strings.Contains(got[4], "later@dest.test") {
			t.Errorf("the next span did not begin anew: %d notices", len(got))
		}
		r.ledger.mu.Lock()
		defer r.ledger.mu.Unlock()
		for _, e := range r.ledger.events {
			if e.NoticeKind == "digest" && (e.Count != 5 || e.NoticeID.IsZero() || e.Recipient != path("sender@example.org")) {
				t.Errorf("%+v", e)
			}
		}
	})
}

// A list of one is a list all the same, with the subject of the notice that it
// stands for.
func TestListOfOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, delivery.Config{Notices: notices.Config{Limit: 1, Span: time.Minute}})
		var box inbox
		r.hop.script = box.answer
		r.store.accept(mail("sender@example.org", "one@dest.test"))
		r.store.accept(mail("sender@example.org", "two@dest.test"))
		pass(3 * time.Minute)
		if got := box.mail(); len(got) != 2 || !strings.Contains(got[1], "@dest.test: 550 5.1.1 no such user\r\n") || !strings.Contains(got[1], "\r\nSubject: Not delivered: ") || r.store.queued() != 0 {
			t.Errorf("%d notices, %d left", len(got), r.store.queued())
		}
	})
}

// While what is left of the disk is for settling, senders are told by lists alone.
func TestScantRoomMakesLists(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var room error
		r := begin(t, delivery.Config{Notices: notices.Config{Span: time.Minute, Room: func() error { return room }}})
		var box inbox
		r.hop.script = box.answer
		for i, err := range []error{relay.ErrNoSpace, fmt.Errorf("%w: %w", relay.ErrScant, relay.ErrNoSpace)} {
			room = err
			r.store.accept(mail("sender@example.org", "one@dest.test"))
			pass(time.Second)
			if rows := r.store.waiting(); rows != i || len(box.mail()) != 1 {
				t.Errorf("%v: %d rows wait, %d notices came", err, rows, len(box.mail()))
			}
		}
		pass(2 * time.Minute)
		got := box.mail()
		if len(got) != 2 || r.store.waiting() != 0 || r.store.queued() != 0 {
			t.Fatalf("%d notices, %d rows and %d messages left", len(got), r.store.waiting(), r.store.queued())
		}
		if !strings.Contains(got[1], "While the disk of this mail system was full") {
			t.Errorf("the list does not say why it came:\n%s", got[1])
		}
	})
}

// A list that cannot be committed is made later; what it would have listed
// is neither lost nor told twice.
func TestDigestThatCannotBeCommitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, delivery.Config{Notices: notices.Config{Limit: 1}})
		var box inbox
		r.hop.script = box.answer
		failures := 3
		r.store.refuse = func(s relay.Settlement) error {
			if len(s.Notices) == 1 && strings.Contains(string(s.Notices[0].Content), "X-Dawk-Digest: ") && failures > 0 {
				failures--
				return errors.New("input/output error")
			}
			return nil
		}
		for i := range 4 {
			r.store.accept(mail("sender@example.org", fmt.Sprintf("user%d@dest.test", i)))
		}
		pass(2 * time.Hour)
		got := strings.Join(box.mail(), "\n")
		for i := range 4 {
			if n := strings.Count(got, fmt.Sprintf("Final-Recipient: rfc822; user%d@dest.test", i)); n != 1 {
				t.Errorf("user%d is told of %d times", i, n)
			}
		}
		if failures != 0 || r.store.queued() != 0 {
			t.Errorf("%d failures left, %d queued", failures, r.store.queued())
		}
	})
}

// What was not told singly before a restart is told after it, when its time comes.
func TestRowsSurviveARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, delivery.Config{Notices: notices.Config{Limit: 1}})
		r.hop.script = new(inbox).answer
		for i := range 4 {
			r.store.accept(mail("sender@example.org", fmt.Sprintf("user%d@dest.test", i)))
		}
		pass(10 * time.Minute)
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
		if n := r.store.waiting(); n != 3 {
			t.Fatalf("%d rows are in the store, want 3", n)
		}
		again := begin(t, delivery.Config{Notices: notices.Config{Limit: 1}}, func(next *rig) { next.store = r.store })
		var box inbox
		again.hop.answer(box.answer)
		pass(49 * time.Minute)
		if got := box.mail(); len(got) != 0 {
			t.Errorf("%d lists before the span has ended", len(got))
		}
		pass(2 * time.Minute)
		if got := box.mail(); len(got) != 1 || strings.Count(got[0], "\r\nFinal-Recipient: ") != 3 || r.store.queued() != 0 {
			t.Errorf("%d notices, %d left", len(got), r.store.queued())
		}
	})
}

func TestLateNotice(t *testing.T) {
	for name, c := range map[string]struct {
		tell   bool
		notify relay.Notify
		dsn    bool
		want   []string
	}{
		"off":                 {false, 0, false, []string{"delayed"}},
		"on":                  {true, 0, false, []string{"delayed", "late"}},
		"on, host offers DSN": {true, 0, true, []string{"delayed", "late"}},
		"on, no delay wanted": {true, relay.NotifyFailure, false, nil},
		"on, success wanted":  {true, relay.NotifySuccess | relay.NotifyDelay, false, []string{"delayed", "relayed"}},
		"on, never":           {true, relay.NotifyNever, false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := begin(t, delivery.Config{DelayNotice: time.Hour, Notices: notices.Config{Bounce: bounce.Config{TellLate: c.tell}}})
				began := time.Now()
				r.hop.script = func(_ context.Context, task relay.Task) relay.Result {
					if !task.Message.Notice && time.Since(began) < 3*time.Hour {
						return all(task, greylist)
					}
					res := all(task, relayed)
					res.DSN = c.dsn
					return res
				}
				m := mail("sender@example.org", "one@dest.test")
				m.Recipients[0].Notify = c.notify
				r.store.accept(m)
				pass(6 * time.Hour)
				var kinds []string
				for _, e := range r.ledger.events {
					if e.Kind == relay.EventNotified {
						kinds = append(kinds, e.NoticeKind)
					}
				}
				if strings.Join(kinds, " ") != strings.Join(c.want, " ") {
					t.Errorf("notices %q, want %q", kinds, c.want)
				}
			})
		})
	}
}

// A notice that an older version held back goes out when it is due, to where its
// mailbox is.
func TestNoticeHeldBackByAnOlderVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := mail("", "sender@example.org")
		m.Notice, m.NotBefore, m.Identity = true, time.Now().Add(time.Hour), "dawk"
		var box inbox
		r := begin(t, delivery.Config{Notices: notices.Config{Limit: 1}}, func(r *rig) {
			r.hop.script = box.answer
			r.store.jobs[jobKey{r.store.enqueue(m)[0].ID, 0}].Destination = "digest:sender@example.org"
		})
		pass(59 * time.Minute)
		if got := box.mail(); len(got) != 0 {
			t.Errorf("%d notices before it is due", len(got))
		}
		pass(2 * time.Minute)
		if got := box.mail(); len(got) != 1 || r.store.queued() != 0 || len(r.hop.attempts("example.org")) != 1 {
			t.Errorf("%d notices, %d left", len(got), r.store.queued())
		}
	})
}
