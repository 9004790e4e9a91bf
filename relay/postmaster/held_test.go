package postmaster_test

import (
	"context"
	"errors"
	"log/slog"
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
	fails bool
}

func (p *post) send(_ context.Context, n relay.Notice) error {
	m, err := mail.ReadMessage(strings.NewReader(string(n.Content)))
	if err != nil {
		return err
	}
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
				h := postmaster.NewHeldRoutes(letters(t, "postmaster@example.org"), 15*time.Minute, slog.New(slog.DiscardHandler))
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan struct{})
				go func() { h.Run(ctx, p.send); close(done) }()
				why := relay.Reply{Code: 535, Text: "no"}
				h.Note("short", true, why)
				time.Sleep(10 * time.Minute)
				h.Note("short", false, relay.Reply{})
				h.Note("long\r\n", true, why)
				h.Note("long\r\n", true, why) // said twice
				time.Sleep(40 * time.Hour)
				h.Note("long\r\n", false, relay.Reply{})
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
		none := postmaster.NewHeldRoutes(letters(t, ""), time.Minute, slog.New(slog.DiscardHandler))
		never := postmaster.NewHeldRoutes(letters(t, "postmaster@example.org"), 0, slog.New(slog.DiscardHandler))
		none.Note("route", true, relay.Reply{})
		never.Note("route", true, relay.Reply{})
		go never.Run(ctx, p.send)
		none.Run(ctx, p.send)
		synctest.Wait()
		if len(p.got) > 0 {
			t.Errorf("%q", p.got)
		}
	})
}
