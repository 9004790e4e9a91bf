package delivery_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dawk/bounce"
	"dawk/relay"
	"dawk/relay/delivery"
	"dawk/relay/delivery/notices"
)

var errRead = errors.New("read the content: input/output error")

// notices are the notices in the store, as text.
func (s *store) notices() (all []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.body {
		all = append(all, string(b))
	}
	return all
}

// What the disk has damaged fails at once, with a notice to its sender; nothing
// is sent, and the store is left empty.
func TestLostContentIsToldToItsSender(t *testing.T) {
	for _, c := range []struct {
		name, from string
		notify     relay.Notify
		want       []relay.EventKind
	}{
		{"to its sender", "sender@example.org", 0, []relay.EventKind{relay.EventAttempted, relay.EventFailed, relay.EventFailed, relay.EventNotified}},
		{"never", "sender@example.org", relay.NotifyNever, []relay.EventKind{relay.EventAttempted, relay.EventFailed, relay.EventFailed}},
		{"to the postmaster", "", 0, []relay.EventKind{relay.EventAttempted, relay.EventFailed, relay.EventFailed, relay.EventNotified}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := mail(c.from, "a@dest.test", "b@dest.test")
				for i := range m.Recipients {
					m.Recipients[i].Notify = c.notify
				}
				r := begin(t, delivery.Config{Notices: notices.Config{Bounce: bounce.Config{Postmaster: path("postmaster@example.org")}}, DelayNotice: time.Hour}, func(r *rig) {
					r.store.enqueue(m)
					r.store.unread[m.ID] = relay.ErrContentLost
				})
				pass(time.Minute)
				if k := r.ledger.kinds(m.ID); !slices.Equal(k, c.want) {
					t.Errorf("events %v, want %v", k, c.want)
				}
				if e := r.ledger.first(relay.EventFailed); e.Reason != "damaged" {
					t.Errorf("the reason is %q", e.Reason)
				}
				all := r.store.notices()
				if len(all) != len(c.want)-3 {
					t.Fatalf("%d notices", len(all))
				}
				for _, n := range all {
					flat := strings.Join(strings.Fields(n), " ")
					for _, want := range []string{"because the disk of this mail system damaged it.", "Action: failed", "Status: 4.3.0", "Final-Recipient: rfc822; a@dest.test", "Final-Recipient: rfc822; b@dest.test"} {
						if !strings.Contains(flat, want) {
							t.Errorf("the notice does not say %q:\n%s", want, n)
						}
					}
					if c.from != "" && !strings.Contains(flat, "Please send it again.") || strings.Contains(n, "message/rfc822") {
						t.Errorf("the notice:\n%s", n)
					}
				}
				if n := len(r.hop.attempts("dest.test")); n != 0 || r.store.queued() != 0 || r.d.Stats().Corrupt != 1 {
					t.Errorf("%d transactions, %d queued, %d counted as corrupt", n, r.store.queued(), r.d.Stats().Corrupt)
				}
			})
		})
	}
}

// What cannot be read now is tried again as often as other mail and as long,
// and then its sender is told; what can be read again in time is delivered.
func TestUnreadableContentExpires(t *testing.T) {
	for _, mended := range []bool{false, true} {
		t.Run(fmt.Sprint("mended ", mended), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := mail("sender@example.org", "a@dest.test")
				reads := 0
				r := begin(t, delivery.Config{DelayNotice: 4 * time.Hour}, func(r *rig) {
					r.store.enqueue(m)
					r.store.unread[m.ID] = errRead
					r.store.onClaim = func() { reads++ }
				})
				pass(24 * time.Hour)
				r.store.mu.Lock()
				if reads < 10 || reads > 40 {
					t.Errorf("read %d times in a day", reads)
				}
				if mended {
					delete(r.store.unread, m.ID)
				}
				r.store.mu.Unlock()
				pass(5 * 24 * time.Hour)
				var kinds []string
				r.ledger.mu.Lock()
				for _, e := range r.ledger.events {
					if e.Kind == relay.EventNotified || e.Kind == relay.EventExpired || e.Kind == relay.EventRelayed && e.ID == m.ID {
						kinds = append(kinds, string(e.Kind)+e.NoticeKind)
					}
				}
				r.ledger.mu.Unlock()
				want := []string{"notifieddelayed", "expired", "notifiedfailed"}
				if mended {
					want = []string{"notifieddelayed", "relayed"}
				}
				if !slices.Equal(kinds, want) || r.store.queued() != 0 {
					t.Errorf("%v, want %v; %d queued", kinds, want, r.store.queued())
				}
				if e := r.ledger.first(relay.EventExpired); !mended && (e.Reason != "damaged" || e.Age < 5*24*time.Hour) {
					t.Errorf("expired for %q after %v", e.Reason, e.Age)
				}
			})
		})
	}
}

// The delay notice of mail that cannot be read goes out between attempts; what
// turns out to be lost when it is due fails then and there.
func TestDelayNoticeOfUnreadableMail(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{{errRead, "delayed"}, {relay.ErrContentLost, "failed"}} {
		synctest.Test(t, func(t *testing.T) {
			m := mail("sender@example.org", "a@dest.test")
			m.Arrival = time.Now().Round(0).Add(-3 * time.Hour)
			r := begin(t, delivery.Config{DelayNotice: 4 * time.Hour}, func(r *rig) {
				r.store.enqueue(m)
				for _, d := range r.store.jobs {
					d.Attempts, d.Due = 5, time.Now().Add(2*time.Hour)
				}
				r.store.unread[m.ID] = c.err
			})
			pass(time.Hour + time.Minute)
			if e := r.ledger.first(relay.EventNotified); e.NoticeKind != c.want || e.Age != 4*time.Hour {
				t.Errorf("%v: told %q after %v", c.err, e.NoticeKind, e.Age)
			}
		})
	}
}

// An operator may end mail that cannot be read.
func TestActOnUnreadableMail(t *testing.T) {
	for _, verb := range []relay.Verb{relay.VerbBounce, relay.VerbDelete} {
		synctest.Test(t, func(t *testing.T) {
			m := mail("sender@example.org", "a@dest.test")
			r := begin(t, delivery.Config{}, func(r *rig) {
				r.store.enqueue(m)
				r.store.unread[m.ID] = errRead
			})
			pass(time.Second)
			if err := r.d.Act(t.Context(), m.ID, verb); err != nil {
				t.Errorf("%s: %v", verb, err)
			}
			pass(time.Second)
			if n := r.ledger.count(relay.EventNotified); (n == 1) != (verb == relay.VerbBounce) || r.store.queued() != 0 {
				t.Errorf("%s: %d notices, %d queued", verb, n, r.store.queued())
			}
		})
	}
}
