package postmaster_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"mime/quotedprintable"
	"net/mail"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dawk/relay"
	"dawk/relay/postmaster"
)

// post keeps the subjects of letters, with the time at which each came.
type post struct {
	began time.Time
	got   []string
	last  string // the text of the last one
	fails bool
}

func (p *post) send(_ context.Context, n relay.Notice) error {
	m, err := mail.ReadMessage(strings.NewReader(string(n.Content)))
	if err != nil {
		return err
	}
	text, err := io.ReadAll(quotedprintable.NewReader(m.Body))
	if err != nil {
		return err
	}
	p.last = string(text)
	p.got = append(p.got, time.Since(p.began).String()+" "+m.Header.Get("Subject"))
	if p.fails {
		return errors.New("no room")
	}
	return nil
}

func letters(t *testing.T, to string) postmaster.Letters {
	p, err := relay.ParsePath(to)
	if err != nil && to != "" {
		t.Fatal(err)
	}
	return postmaster.Letters{Hostname: "relay.example.org", To: p}
}

// A hold that lasts is told once a day, and its end once; a short one not at
// all. A letter that cannot be queued stops nothing.
func TestHeldRoutes(t *testing.T) {
	for name, fails := range map[string]bool{"queued": false, "refused": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &post{began: time.Now(), fails: fails}
				h := postmaster.NewHolds(letters(t, "postmaster@example.org"), 15*time.Minute, slog.New(slog.DiscardHandler))
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan struct{})
				go func() { h.Run(ctx, p.send); close(done) }()
				why := relay.Reply{Code: 535, Text: "no"}
				route := func(name string, kind relay.EventKind) {
					h.Observe(relay.Event{Kind: kind, Time: time.Now(), Route: name, Reply: why})
				}
				route("short", relay.EventRouteHeld)
				time.Sleep(10 * time.Minute)
				route("short", relay.EventRouteFree)
				route("long\r\n", relay.EventRouteHeld)
				route("long\r\n", relay.EventRouteHeld) // said twice
				time.Sleep(40 * time.Hour)
				route("long\r\n", relay.EventRouteFree)
				time.Sleep(40 * time.Hour)
				cancel()
				<-done
				want := "25m0s Route long?? is held: its mail waits\n24h25m0s Route long?? is held: its mail waits\n40h10m0s Route long?? is free again"
				if got := strings.Join(p.got, "\n"); got != want {
					t.Errorf("got\n%s\nwant\n%s", got, want)
				}
			})
		})
	}
}

func TestNobodyToTell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &post{began: time.Now()}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Hour)
		defer cancel()
		none := postmaster.NewHolds(letters(t, ""), time.Minute, slog.New(slog.DiscardHandler))
		never := postmaster.NewHolds(letters(t, "postmaster@example.org"), 0, slog.New(slog.DiscardHandler))
		for _, h := range []*postmaster.Holds{none, never} {
			h.Observe(relay.Event{Kind: relay.EventRouteHeld, Route: "route"})
			h.Observe(relay.Event{Kind: relay.EventIdentityHeld, Identity: "alice"})
		}
		go never.Run(ctx, p.send)
		none.Run(ctx, p.send)
		synctest.Wait()
		if len(p.got) > 0 {
			t.Errorf("%q", p.got)
		}
	})
}

// A user on hold is told of at once, many of them in one letter, all once a day,
// and one that is free no more. After a restart nobody is told again at once.
func TestHeldUsers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &post{began: time.Now()}
		h := postmaster.NewHolds(letters(t, "postmaster@example.org"), 15*time.Minute, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { h.Run(ctx, p.send); close(done) }()
		user := func(name string, kind relay.EventKind, ago time.Duration) {
			h.Observe(relay.Event{Kind: kind, Time: time.Now().Add(-ago), Identity: name, Rule: "the same text to 4 recipients\u202e"})
		}
		user("bob", relay.EventIdentityHeld, time.Hour) // before the restart
		time.Sleep(time.Minute)
		user("Alice", relay.EventIdentityHeld, 0)
		time.Sleep(time.Minute)
		for _, name := range []string{"carol", "dave", "erin"} {
			user(name, relay.EventIdentityHeld, 0)
		}
		user("erin", relay.EventIdentityReleased, 0)
		time.Sleep(23 * time.Hour)
		user("bob", relay.EventIdentityReleased, 0)
		user("alice", relay.EventIdentityReleased, 0)
		time.Sleep(2 * time.Hour)
		cancel()
		<-done
		want := "1m0s Alice is held: its mail waits\n16m0s 3 users are held: their mail waits\n24h16m0s 2 users are held: their mail waits"
		if got := strings.Join(p.got, "\n"); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
		if !strings.Contains(p.last, "carol, since") || !strings.Contains(p.last, "dave, since") || !strings.Contains(p.last, "dawk user release NAME") ||
			strings.Contains(p.last, "erin") || strings.Contains(p.last, "\u202e") {
			t.Errorf("the letter is\n%s", p.last)
		}
	})
}
